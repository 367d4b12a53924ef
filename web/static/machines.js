"use strict";
// The machines page: filter, picks, roles and keys. All of it works without this file, with more clicks.
(() => {
  const doc = document, $ = (id) => doc.getElementById(id), { put, live } = window.hatchery;
  const form = $("machines"), box = $("filter"), give = $("give");
  let state = form.dataset.state;
  const rows = () => [...$("rows").rows];
  const whole = () => $("rows").dataset.whole !== undefined; // every machine is here: no need to ask the server

  // Filter: rows are hidden at once; where there are more than are shown, the server searches them all.
  const texts = new WeakMap(); // row → what is searched
  const text = (r) => {
    if (!texts.has(r)) texts.set(r, [...r.cells].slice(1, 5).map((c) => c.textContent).join(" ").concat(" ", r.dataset.state, " ", r.dataset.find || "").toLowerCase());
    return texts.get(r);
  };
  const address = () => {
    const v = new URLSearchParams();
    if (state) v.set("state", state);
    if (box.value.trim()) v.set("q", box.value.trim());
    return v.size ? "/?" + v : "/";
  };
  const show = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean), all = rows();
    let shown = 0;
    for (const r of all) {
      const hide = (state && r.dataset.state !== state) || words.some((w) => !text(r).includes(w));
      if (r.hidden !== !!hide) r.hidden = hide;
      shown += !hide;
    }
    form.hidden = !all.length && !$("chips").childElementCount;
    $("nohits").hidden = shown > 0 || !(state || words.length);
    for (const c of doc.querySelectorAll(".chip")) c.dataset.filter === state ? c.setAttribute("aria-current", "true") : c.removeAttribute("aria-current");
    if (all.length && $("empty").classList.contains("first")) { $("empty").open = false; $("empty").classList.remove("first"); }
    count();
  };
  let timer, asked = 0;
  const filter = () => {
    show();
    const to = address();
    history.replaceState(null, "", to);
    form.back.value = to;
    clearTimeout(timer);
    if (!whole()) timer = setTimeout(ask, 200, to);
  };
  const ask = async (to) => {
    const mine = ++asked, r = await fetch(to).catch(() => null);
    if (!r || !r.ok || r.redirected || mine !== asked) return;
    const page = new DOMParser().parseFromString(await r.text(), "text/html"), fresh = page.getElementById("rows");
    for (const r of rows()) if (r.querySelector(":checked") && !page.getElementById(r.id)) fresh.append(r); // picks stay
    for (const id of ["rows", "chips", "pages"]) put(doc.adoptNode(page.getElementById(id)));
    live(page.body.dataset.live);
    show();
  };
  box.addEventListener("input", filter);
  $("find").addEventListener("submit", (e) => { e.preventDefault(); filter(); });
  doc.addEventListener("click", (e) => {
    const c = e.target.closest(".chip");
    if (!c || e.ctrlKey || e.metaKey || e.shiftKey) return;
    e.preventDefault();
    state = state === c.dataset.filter ? "" : c.dataset.filter;
    filter();
  });
  doc.addEventListener("patched", show);

  // Picks.
  const boxOf = (r) => r.querySelector("input[name=host]");
  const picked = () => rows().filter((r) => boxOf(r)?.checked);
  const shown = (want) => rows().filter((r) => !r.hidden && boxOf(r) && (!want || r.dataset.state === want));
  const count = () => {
    const n = picked().length, ready = shown("ready").length, all = shown(), b = $("pick-ready");
    if ($("picked")) $("picked").textContent = n ? ` (${n})` : "";
    if (b) { b.hidden = ready < 2; b.textContent = `Select the ${ready} that need a role`; }
    $("pick-all").checked = all.length > 0 && all.every((r) => boxOf(r).checked);
  };
  form.addEventListener("change", (e) => {
    if (e.target.id === "pick-all") for (const r of shown()) boxOf(r).checked = e.target.checked;
    count();
  });
  form.addEventListener("click", (e) => {
    if (e.target.id === "pick-ready") { for (const r of shown("ready")) boxOf(r).checked = true; count(); }
    const one = e.target.closest("[data-give]");
    if (one) { e.preventDefault(); choose([one.closest("tr")], one); }
  });

  // A role for one row or for what is picked.
  let from;
  const choose = (list, by) => {
    if (!list.length) { say("Pick at least one machine first.", false); return; }
    from = by.id || by.closest("tr").id;
    const name = (r) => r.querySelector("th a").textContent;
    $("give-who").textContent = list.length > 6 ? `${list.length} machines (${list.slice(0, 5).map(name).join(", ")} and ${list.length - 5} more)` : list.map(name).join(", ");
    $("give-hosts").replaceChildren(...list.map((r) => Object.assign(doc.createElement("input"), { type: "hidden", name: "host", value: r.id.slice(2) })));
    give.showModal();
  };
  give.addEventListener("close", () => { const el = $(from); (el?.querySelector?.("[data-give]") || el?.querySelector?.("a") || el)?.focus({ preventScroll: true }); });

  // What is asked for is done without leaving the page.
  const say = (words, good) => {
    const p = $("said");
    p.className = good ? "note" : "error";
    p.hidden = false;
    p.textContent = words;
    if (!good) p.scrollIntoView({ block: "nearest" });
  };
  const send = async (to, body) => {
    const r = await fetch(to, { method: "POST", body, headers: { Accept: "text/plain" } }).catch(() => null);
    const plain = r?.headers.get("Content-Type")?.startsWith("text/plain");
    say(plain ? await r.text() : r?.redirected ? "You were signed out. Sign in again, then repeat it." : "The appliance did not answer. Nothing may have been done: look at the machine before you try again.", plain && r.ok);
    return plain && r.ok;
  };
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    const b = e.submitter;
    if (!b?.hasAttribute("formaction")) { choose(picked(), $("assign-go")); return; }
    b.disabled = true;
    await send(b.formAction, new URLSearchParams());
    b.disabled = false;
  });
  give.firstElementChild.addEventListener("submit", async (e) => {
    if (e.submitter?.name !== "role") return; // Cancel
    e.preventDefault();
    const body = new URLSearchParams(new FormData(e.target));
    body.set("role", e.submitter.value);
    give.close();
    if (await send("/assign", body)) for (const r of picked()) if (body.getAll("host").includes(boxOf(r).value)) boxOf(r).checked = false;
    count();
  });

  // Keys.
  doc.addEventListener("keydown", (e) => {
    const a = doc.activeElement, typing = a && (a.isContentEditable || a.matches("textarea,select,input:not([type=checkbox]):not([type=radio])"));
    if (e.ctrlKey || e.metaKey || e.altKey || give.open) return;
    if (e.key === "Escape" && a === box) { box.value = ""; filter(); box.blur(); return; }
    if (typing) return;
    const list = rows().filter((r) => !r.hidden), cur = a?.closest("#rows > tr"), i = list.indexOf(cur);
    const go = (r) => r?.querySelector("th a").focus();
    if (e.key === "/") { e.preventDefault(); box.focus(); box.select(); }
    else if (e.key === "j") go(list[i + 1]);
    else if (e.key === "k") go(list[Math.max(i - 1, 0)]);
    else if (e.key === "?") $("keys").toggleAttribute("open");
    else if (e.key === "x" && cur) boxOf(cur)?.click();
    else if (e.key === "a" && $("assign-go")) { e.preventDefault(); picked().length || !cur || !boxOf(cur) ? choose(picked(), $("assign-go")) : choose([cur], cur); }
  });
  if ($("empty").open && !rows().length) $("empty").classList.add("first");
  show();
})();
