"use strict";
// Live rows, filter and keys. Everything on the pages works without this file.
(() => {
  const doc = document, body = doc.body, $ = (id) => doc.getElementById(id);
  doc.documentElement.classList.add("js");
  const skew = Date.now() - Number(body.dataset.now); // the server's clock is the reference

  // Relative times.
  const ago = (s) => s < 2 ? "just now" : s < 60 ? `${s | 0} s ago` : s < 3600 ? `${s / 60 | 0} min ago` : s < 172800 ? `${s / 3600 | 0} h ago` : `${s / 86400 | 0} days ago`;
  const times = () => {
    for (const t of doc.querySelectorAll("time")) {
      if (t.dataset.abs !== undefined) continue;
      const s = (Date.now() - skew - Date.parse(t.dateTime)) / 1000, text = ago(s);
      if (t.textContent !== text) t.textContent = text;
    }
  };
  setInterval(times, 5000);

  // Filter: chips and words, kept over patches.
  const box = $("filter");
  let state = "";
  const filter = () => {
    const rows = $("rows");
    if (!rows) return;
    const q = box ? box.value.toLowerCase().trim() : "";
    let shown = 0;
    for (const r of rows.rows) {
      r.hidden = !(!state || r.dataset.state === state) || (q && !r.textContent.toLowerCase().includes(q));
      shown += !r.hidden;
    }
    $("empty").hidden = rows.rows.length > 0;
    $("nohits").hidden = shown > 0 || !rows.rows.length;
    for (const c of doc.querySelectorAll(".chip")) c.setAttribute("aria-pressed", c.dataset.filter === state);
  };
  if (box) box.addEventListener("input", filter);
  doc.addEventListener("click", (e) => {
    const c = e.target.closest(".chip");
    if (c) { state = state === c.dataset.filter ? "" : c.dataset.filter; filter(); }
  });

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
    if (el.dataset.gone !== undefined) { if (old) old.remove(); return; }
    if (!old) { if (el.localName === "tr" && $("rows")) { el.classList.add("new"); $("rows").prepend(el); } return; }
    const focus = old.contains(doc.activeElement) ? doc.activeElement : null, at = focus && focus.selectionStart;
    const anchor = focus && focus.closest("[id]").id, where = []; // the way from the nearest id to the focus
    for (let n = focus; n && n.id !== anchor; n = n.parentNode) where.unshift([...n.parentNode.children].indexOf(n));
    keep(old, el);
    old.replaceWith(el);
    const n = anchor && where.reduce((x, i) => x && x.children[i], $(anchor));
    if (!n) return;
    n.focus({ preventScroll: true });
    if (at != null && n.setSelectionRange) try { n.setSelectionRange(at, at); } catch { /* not a text field */ }
  };
  const link = $("link"), pill = (text, cls) => { if (link) { link.hidden = false; if (link.textContent !== text) link.textContent = text; link.className = "link " + cls; } };
  if (body.dataset.live) {
    const es = new EventSource(body.dataset.live);
    es.addEventListener("hello", () => pill("Live", "ok"));
    es.addEventListener("patch", (e) => {
      const t = doc.createElement("template");
      t.innerHTML = e.data;
      for (const el of [...t.content.children]) put(el);
      filter(); times();
    });
    es.addEventListener("say", (e) => { $("say").textContent = e.data; });
    es.onerror = () => es.readyState === 2 ? pill("Signed out or stopped: reload", "warn") : pill("Reconnecting…", "warn");
    addEventListener("pagehide", () => es.close());
  }

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

  // Keys.
  doc.addEventListener("keydown", (e) => {
    const a = doc.activeElement, typing = a && (a.isContentEditable || a.matches("textarea,select,input:not([type=checkbox]):not([type=radio])"));
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === "Escape" && a === box) { box.value = ""; filter(); box.blur(); return; }
    if (typing || !$("rows")) return;
    const rows = [...$("rows").rows].filter((r) => !r.hidden), cur = a && a.closest("#rows > tr"), i = rows.indexOf(cur);
    const go = (r) => r && (r.querySelector("a") || r).focus();
    if (e.key === "/" && box) { e.preventDefault(); box.focus(); box.select(); }
    else if (e.key === "j") go(rows[i + 1]);
    else if (e.key === "k") go(rows[Math.max(i - 1, 0)]);
    else if (e.key === "?") $("keys").toggleAttribute("open");
    else if (e.key === "x" && cur) { const c = cur.querySelector("input[type=checkbox]"); if (c) c.click(); }
  });
  filter();
})();
