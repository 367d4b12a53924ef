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
    // What was typed to confirm one plan must not confirm another.
    const expired = [...old.querySelectorAll("[data-plan][id]")].filter((c) => { const n = el.querySelector("#" + CSS.escape(c.id)); return n && n.dataset.plan !== c.dataset.plan && (c.open || [...c.querySelectorAll("input")].some(touched)); });
    for (const c of expired) {
      const p = doc.createElement("p");
      p.className = "note";
      p.textContent = $("say").textContent = "The disks or the role changed while you were confirming. What you typed is gone: look at the disks again.";
      el.querySelector("#" + CSS.escape(c.id)).before(p);
    }
    for (const i of old.querySelectorAll("input,select,textarea")) {
      if (expired.some((c) => c.contains(i))) continue;
      const n = i.name && touched(i) && [...el.querySelectorAll(`[name="${CSS.escape(i.name)}"]`)].find((x) => i.type !== "checkbox" || x.value === i.value);
      if (n && i.type === "checkbox") n.checked = i.checked;
      else if (n && (!i.options || [...n.options].some((o) => o.value === i.value))) n.value = i.value;
    }
    for (const d of old.querySelectorAll("details[open][id]")) { if (expired.includes(d)) continue; const n = el.querySelector("#" + CSS.escape(d.id)); if (n) n.open = true; }
  };
  const put = (el) => {
    const old = $(el.id);
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

  const summary = $("summary");
  if (summary) summary.focus();

  // What destroys something opens with the focus on Cancel.
  doc.addEventListener("click", (e) => {
    const s = e.target.closest("details.confirm > summary"), c = e.target.closest("[data-close]");
    if (s) setTimeout(() => { if (s.parentNode.open) s.parentNode.querySelector("[data-close]")?.focus(); });
    if (c) { e.preventDefault(); shut(c.closest("details")); }
  });
  const shut = (d) => { d.querySelector("form").reset(); d.open = false; d.querySelector("summary").focus(); };
  doc.addEventListener("keydown", (e) => {
    const d = e.key === "Escape" && e.target.closest?.("details.confirm");
    if (d) shut(d);
  });

  window.hatchery = { put, live };
})();
