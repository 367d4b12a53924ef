"use strict";
// Relative times and live parts. Everything on the pages works without this file.
(() => {
  const doc = document, body = doc.body, $ = (id) => doc.getElementById(id);
  doc.documentElement.classList.add("js");
  const skew = Date.now() - Number(body.dataset.now); // the server's clock is the reference

  // Relative times.
  const ago = (s) => s < 2 ? "just now" : s < 60 ? `${s | 0} s ago` : s < 3600 ? `${s / 60 | 0} min ago` : s < 172800 ? `${s / 3600 | 0} h ago` : `${s / 86400 | 0} days ago`;
  const times = (part = doc) => {
    for (const t of part.querySelectorAll("time")) {
      if (t.dataset.abs !== undefined) continue;
      const s = (Date.now() - skew - Date.parse(t.dateTime)) / 1000, text = ago(s);
      if (t.textContent !== text) t.textContent = text;
      if (t.dataset.late) t.classList.toggle("late", s > t.dataset.late);
    }
  };
  setInterval(() => times(), 5000);

  // Patches: each element replaces the one with its id; ticks, typed text, open folds and focus stay.
  const touched = (i) => i.type === "checkbox" ? i.checked !== i.defaultChecked : i.options ? [...i.options].some((o) => o.selected !== o.defaultSelected) : i.type !== "hidden" && i.value !== i.defaultValue;
  const keep = (old, el) => {
    for (const i of old.querySelectorAll("input,select,textarea")) {
      const n = i.name && touched(i) && [...el.querySelectorAll(`[name="${CSS.escape(i.name)}"]`)].find((x) => i.type !== "checkbox" || x.value === i.value);
      if (n && i.type === "checkbox") n.checked = i.checked;
      else if (n && (!i.options || [...n.options].some((o) => o.value === i.value))) n.value = i.value;
    }
    for (const d of old.querySelectorAll("details[open][id]")) { const n = el.querySelector("#" + CSS.escape(d.id)); if (n) n.open = true; }
  };
  // A confirmation that is open stays open. When what it asks about is no longer the same, it says so, and what was typed
  // to confirm the one must not confirm the other.
  const expire = (d, words, ...rest) => {
    const note = Object.assign(doc.createElement("p"), { className: "error", textContent: words });
    note.setAttribute("role", "alert");
    d.replaceChildren(...rest);
    d.querySelector("h2").after(note);
    d.querySelector("[data-close]").focus();
  };
  const redraw = (old, el) => {
    const ids = [...el.children].map((n) => n.id);
    for (const d of [...old.children]) {
      if (ids.includes(d.id)) continue;
      if (!d.open) { d.remove(); continue; }
      expire(d, "The machine changed while you were confirming: this cannot be done now. Nothing was done.", d.querySelector("h2"), d.querySelector("[data-close]"));
    }
    for (const n of [...el.children]) {
      const d = $(n.id);
      if (!d) old.append(n);
      else if (!d.open) d.replaceWith(n);
      else if (d.dataset.plan !== n.dataset.plan) {
        d.dataset.plan = n.dataset.plan;
        expire(d, "The disks or the role changed while you were confirming. What you typed is gone: look at the disks again.", ...n.childNodes);
      }
    }
  };
  const put = (el) => {
    const old = $(el.id);
    if (old && el.dataset.dialogs !== undefined) return redraw(old, el);
    if (el.dataset.gone !== undefined) {
      if (old?.contains(doc.activeElement)) (old.nextElementSibling || old.previousElementSibling)?.querySelector("a")?.focus({ preventScroll: true });
      if (old) old.remove();
      return;
    }
    times(el);
    if (!old) { if (el.dataset.add !== undefined && $("rows")) { el.classList.add("new"); $("rows").prepend(el); } return; }
    const focus = old.contains(doc.activeElement) ? doc.activeElement : null, at = focus && focus.selectionStart;
    const anchor = focus && focus.closest("[id]").id, where = []; // the way from the nearest id to the focus
    for (let n = focus; n && n.id !== anchor; n = n.parentNode) where.unshift([...n.parentNode.children].indexOf(n));
    keep(old, el);
    old.replaceWith(el);
    if (el.dataset.need !== undefined && old.dataset.need === undefined && !focus) $("rows").prepend(el); // it needs somebody now
    const n = anchor && where.reduce((x, i) => x && x.children[i], $(anchor));
    if (!n) return;
    n.focus({ preventScroll: true });
    if (at != null && n.setSelectionRange) try { n.setSelectionRange(at, at); } catch { /* not a text field */ }
  };
  // The stream: the pill says whether what is shown is up to date; since when it is not stands above it.
  const link = $("link"), main = $("main");
  const pill = (text, cls, to) => {
    if (!link) return;
    link.hidden = false;
    link.className = "link " + cls;
    if (cls === "ok") delete main.dataset.stale;
    else main.dataset.stale ??= new Date().toLocaleTimeString("en-GB");
    if (link.textContent === text) return;
    link.textContent = text;
    if (to) link.replaceChildren(Object.assign(doc.createElement("a"), { href: to, textContent: text }));
  };
  let es, again;
  const live = (url) => {
    if (es) es.close();
    clearTimeout(again);
    es = new EventSource(url);
    es.addEventListener("hello", () => pill("Live", "ok"));
    es.addEventListener("patch", (e) => {
      const t = doc.createElement("template");
      t.innerHTML = e.data;
      for (const el of [...t.content.children]) put(el);
      doc.dispatchEvent(new Event("patched"));
    });
    es.addEventListener("say", (e) => { $("say").textContent = e.data; });
    es.onerror = async () => {
      pill("Reconnecting…", "warn");
      if (es.readyState !== 2) return; // the browser tries by itself
      const stop = new AbortController(), r = await fetch(url, { signal: stop.signal }).catch(() => null);
      stop.abort();
      if (r?.status === 204) pill("Signed out", "warn", "/login?to=" + encodeURIComponent(location.pathname + location.search));
      else again = setTimeout(live, 3000, url);
    };
  };
  if (body.dataset.live) live(body.dataset.live);
  addEventListener("pagehide", () => es?.close());
  addEventListener("pageshow", (e) => { if (e.persisted) location.reload(); });

  const wrong = [...doc.querySelectorAll("main [role=alert]")].find((e) => !e.closest("dialog")); // why something was refused
  if (wrong) { wrong.tabIndex = -1; wrong.focus(); }

  // What destroys something is asked in a dialog over the page, with the focus on Cancel.
  const ask = (d) => {
    d.removeAttribute("open");
    d.showModal();
    (d.querySelector("#summary") || d.querySelector("[data-close]")).focus();
    d.scrollTop = 0; // what it asks comes first, though Cancel has the focus
  };
  doc.addEventListener("click", (e) => {
    const o = $(e.target.closest("[data-dialog]")?.dataset.dialog), c = e.target.closest("[data-close]");
    if (o) { e.preventDefault(); ask(o); }
    if (c) { e.preventDefault(); c.closest("dialog").close(); }
  });
  doc.addEventListener("close", (e) => {
    const d = e.target;
    if (!d.matches("dialog.ask")) return;
    d.querySelector("form")?.reset();
    for (const i of d.querySelectorAll("[aria-invalid]")) { i.removeAttribute("aria-invalid"); i.value = ""; }
    for (const p of d.querySelectorAll(".error")) p.remove();
    doc.querySelector(`[data-dialog="${d.id}"]`)?.focus(); // the button may have been drawn anew meanwhile
  }, true);
  for (const d of doc.querySelectorAll("dialog.ask[open]")) {
    history.replaceState(null, "", d.querySelector("[data-close]").href);
    ask(d);
  }

  window.hatchery = { put, live };
})();
