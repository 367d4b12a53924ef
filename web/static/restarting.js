"use strict";
// After a restart: go on once the appliance answers again, however long that takes.
(() => {
  const p = document.getElementById("restarting"), began = Date.now();
  let down = false;
  const look = async () => {
    const up = await fetch("/healthz", { cache: "no-store" }).then(() => true, () => false), s = (Date.now() - began) / 1000 | 0;
    down ||= !up;
    if (up && (down || s > 6)) { location.replace("/"); return; }
    if (s > 30) p.textContent = `No answer for ${s} s. It may still be checking its data. If it stays away, look at its log: journalctl -u hatchery. This page goes on by itself.`;
    setTimeout(look, 1000);
  };
  look();
})();
