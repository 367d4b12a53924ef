// Drives the pages in Chromium. Reads {url, token, control, shots, empty} from stdin; exits 1 when
// anything is not as it should be. node run.mjs [part of a test's name]
import { chromium } from "playwright-core";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import pageTests from "./pages.mjs";

const cfg = JSON.parse(readFileSync(0, "utf8"));
const only = process.argv[2] || "";
const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

const faults = [];
const tests = [];
const test = (name, fn) => tests.push({ name, fn });
const check = (ok, what) => { if (!ok) throw new Error(what); };
const equal = (got, want, what) => check(got === want, `${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);

// open makes a context that fails the test at any console error, CSP violation or request off-site.
async function open(options = {}, site = cfg) {
  const ctx = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 900 }, ...options });
  const page = await ctx.newPage();
  page.setDefaultTimeout(10000);
  page.on("console", (m) => { if (m.type() === "error" && !(page.expectErrors || []).some((e) => m.text().includes(e))) faults.push(`console: ${m.text()}`); });
  page.on("pageerror", (e) => faults.push(`page error: ${e.message}`));
  page.on("request", (r) => { if (!r.url().startsWith(site.url) && !r.url().startsWith("data:")) faults.push(`request off-site: ${r.url()}`); });
  page.site = site;
  return page;
}

async function login(page) {
  await page.goto(page.site.url + "/login");
  await page.fill("#token", page.site.token);
  await page.click("main button");
  await page.waitForURL(page.site.url + "/");
}

const control = async (path, site = cfg) => {
  const r = await fetch(site.control + path, { method: "POST" });
  check(r.ok, `control ${path}: ${r.status}`);
};

async function axe(page, what) {
  await page.evaluate(axeSource);
  const r = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const v of r.violations) faults.push(`axe, ${what}: ${v.id} (${v.help}): ${v.nodes.slice(0, 3).map((n) => n.target + " " + (n.any[0]?.message || "")).join("; ")}`);
}

const shot = (page, name) => page.screenshot({ path: `${cfg.shots}/${name}.png`, fullPage: true });
const noScroll = async (page, what) => {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  check(over <= 0, `${what} scrolls sideways by ${over} px`);
};

const pages = { machines: "/", ready: "/hosts/52-54-00-12-34-01", confirm: "/hosts/52-54-00-12-34-02", installing: "/hosts/52-54-00-12-34-03", installed: "/hosts/52-54-00-12-34-04",
  failed: "/hosts/52-54-00-12-34-05", roles: "/roles", media: "/media", network: "/network", activity: "/activity", settings: "/settings", missing: "/hosts/nothing" };

for (const [mode, options] of Object.entries({ light: { colorScheme: "light" }, dark: { colorScheme: "dark" }, phone: { colorScheme: "light", viewport: { width: 390, height: 844 } } })) {
  test(`every page, ${mode}`, async () => {
    const page = await open(options);
    page.expectErrors = ["404"];
    await page.goto(cfg.url + "/login");
    await axe(page, `login ${mode}`);
    await shot(page, `login-${mode}`);
    await page.goto(cfg.url + "/first-run");
    await axe(page, `first run ${mode}`);
    await shot(page, `first-run-${mode}`);
    await noScroll(page, `first run ${mode}`);
    await login(page);
    for (const [name, path] of Object.entries(pages)) {
      await page.goto(cfg.url + path);
      if (name === "installed") for (const d of ["#reinstall", "#format-0", "#more-role"]) await page.click(`${d} > summary`);
      await axe(page, `${name} ${mode}`);
      await shot(page, `${name}-${mode}`);
      await noScroll(page, `${name} ${mode}`);
    }
    await page.context().close();
  });
}

test("the empty page teaches and a machine appears by itself", async () => {
  const page = await open({}, cfg.empty);
  await login(page);
  await page.getByText("Power on a machine").waitFor();
  await page.getByText("no stage-0 image yet").waitFor();
  await page.getByText("Listening on eth0 · 0 requests so far").waitFor();
  await axe(page, "empty");
  await shot(page, "empty");
  await page.locator("#link", { hasText: "Live" }).waitFor();
  await control("/discover?n=40", cfg.empty);
  await page.locator("#rows tr", { hasText: "52:54:00:12:34:28" }).waitFor();
  await page.getByText("Listening on eth0 · 1 requests so far").waitFor();
  check(!(await page.locator("#empty").isVisible()), "the lesson stays although a machine is there");
  await control("/checkin?n=40", cfg.empty);
  await page.locator("#rows tr", { hasText: "Needs a role" }).waitFor();
  await page.context().close();
});

test("ticks, focus, typed words and the filter survive live patches", async () => {
  const page = await open();
  await login(page);
  await page.locator("#link", { hasText: "Live" }).waitFor();
  const box = page.locator("#rows tr", { hasText: "52:54:00:12:34:01" }).locator("input[type=checkbox]");
  await box.check();
  await page.keyboard.press("/"); // also with a tick box focused
  equal(await page.evaluate(() => document.activeElement.id), "filter", "focus after /");
  await page.keyboard.type("52:54");
  await page.keyboard.press("Escape");
  await page.fill("#filter", "34:01");
  equal(await page.locator("#rows tr:visible").count(), 1, "rows that match");
  for (let i = 0; i < 5; i++) await control("/touch?n=100");
  await page.waitForTimeout(600);
  equal(await page.locator("#rows tr:visible").count(), 1, "rows that match after patches");
  check(await box.isChecked(), "the tick was lost");
  equal(await page.evaluate(() => document.activeElement.id), "filter", "focus after patches");
  equal(await page.inputValue("#filter"), "34:01", "typed words");
  await box.focus();
  await control("/touch?n=100");
  await page.waitForTimeout(400);
  check(await box.evaluate((e) => e === document.activeElement), "focus of the tick box was lost");
  await page.context().close();
});

test("keyboard alone: filter, rows, pick", async () => {
  const page = await open();
  await login(page);
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  const second = await page.locator("#rows tr:visible").nth(1).locator("a").innerText();
  equal(await page.evaluate(() => document.activeElement.innerText), second, "second row after jj");
  await page.keyboard.press("k");
  const first = page.locator("#rows tr:visible").first();
  equal(await page.evaluate(() => document.activeElement.innerText), await first.locator("a").innerText(), "first row after k");
  await page.keyboard.press("Tab");
  await page.locator("body").press("Shift+Tab");
  await page.context().close();
});

test("assign in two clicks, follow the install, hostile names stay text", async () => {
  const page = await open();
  await login(page);
  await page.locator("#link", { hasText: "Live" }).waitFor();
  await control("/checkin?n=30");
  const row = page.locator("#rows tr", { hasText: "52:54:00:12:34:1e" });
  await row.locator("input[type=checkbox]").check();
  await page.selectOption("select[name=role] >> nth=0", "worker");
  await page.click("text=Assign to selected");
  await page.getByText("1 of 1 machine got role worker").waitFor();
  await page.locator("#rows tr", { hasText: "52:54:00:12:34:1e" }).getByText("Queued").waitFor();
  await page.locator("#rows tr", { hasText: "52:54:00:12:34:1e" }).getByRole("link").first().click(); // named by its role since it has one
  await page.locator("#link", { hasText: "Live" }).waitFor();
  await page.getByText(`<img src=x onerror=`).first().waitFor();
  await page.fill("#name", "typed-not-saved");
  await control("/step?host=52:54:00:12:34:1e&no=6&step=copying");
  await page.getByText("Step 6 of 11 · copying").waitFor();
  await page.locator("#log", { hasText: "step copying" }).waitFor();
  equal(await page.inputValue("#name"), "typed-not-saved", "what was typed");
  check(!(await page.title()).includes("owned"), "hostile text became markup");
  await axe(page, "hostile");
  await shot(page, "hostile");
  await page.context().close();
});

test("a wrong serial is refused in words, the right one goes on", async () => {
  const page = await open();
  page.expectErrors = ["409", "422"];
  await login(page);
  await page.goto(cfg.url + pages.confirm);
  await page.fill("[name=confirm-os]", "WRONG");
  await page.click("text=Erase and install");
  await page.locator("#summary").waitFor();
  equal(await page.evaluate(() => document.activeElement.id), "summary", "focus after an error");
  equal(await page.inputValue("[name=confirm-os]"), "WRONG", "value kept");
  await axe(page, "refused");
  await shot(page, "refused");
  await page.fill("[name=confirm-os]", "S1");
  await page.fill("[name=confirm-data]", "S2");
  await page.locator("[name=wipe]").first().check();
  await page.click("text=Erase and install");
  await page.getByText("Confirmed.").waitFor();
  await page.locator("#m-plan").getByText("Confirmed by admin").waitFor();
  await page.context().close();
});

test("what a role would do is shown first, and stays over patches", async () => {
  const page = await open();
  await login(page);
  await page.goto(cfg.url + pages.ready);
  await page.fill("#name", "preview");
  await page.selectOption("#role", "server");
  await page.click("text=Show what it does to the disks");
  await page.getByText("This is what role server would do").waitFor();
  await page.locator("#link", { hasText: "Live" }).waitFor();
  await control("/touch?n=100");
  await page.waitForTimeout(500);
  check(await page.getByText("This is what role server would do").isVisible(), "a patch took the preview away");
  equal(await page.inputValue("#name"), "preview", "name");
  equal(await page.inputValue("#role"), "server", "role");
  await axe(page, "preview");
  await shot(page, "preview");
  await page.context().close();
});

test("without script: login, assign, act", async () => {
  const page = await open({ javaScriptEnabled: false });
  await login(page);
  await control("/checkin?n=31");
  await page.goto(cfg.url + "/");
  await page.locator("#rows tr", { hasText: "52:54:00:12:34:1f" }).locator("input[type=checkbox]").check();
  await page.selectOption("select[name=role] >> nth=0", "worker");
  await page.click("text=Assign to selected");
  await page.getByText("1 of 1 machine got role worker").waitFor();
  await shot(page, "no-script");
  await page.goto(cfg.url + "/hosts/52-54-00-12-34-1f");
  await page.click("text=Cancel the job");
  await page.locator(".m-head").getByText("Needs a role").waitFor();
  await page.context().close();
});

test("the server is restarted: the pill tells, rows and log go on", async () => {
  const page = await open();
  page.expectErrors = ["ERR_"];
  await login(page);
  await page.locator("#link", { hasText: "Live" }).waitFor();
  const box = page.locator("#rows tr", { hasText: "52:54:00:12:34:01" }).locator("input[type=checkbox]");
  await box.check();
  await page.evaluate(() => {
    window.words = [];
    new MutationObserver(() => window.words.push(document.getElementById("link").textContent)).observe(document.getElementById("link"), { childList: true });
  });
  const tail = await page.context().newPage();
  await tail.goto(cfg.url + pages.installing);
  await control("/say?host=node3&text=before-restart");
  await tail.locator("#log", { hasText: "before-restart" }).waitFor();
  await control("/restart");
  await control("/say?host=node3&text=meanwhile-1");
  await control("/say?host=node3&text=meanwhile-2");
  await control("/discover?n=50");
  await page.locator("#rows tr", { hasText: "52:54:00:12:34:32" }).waitFor();
  await page.locator("#link", { hasText: "Live" }).waitFor();
  equal((await page.evaluate(() => window.words)).join(" → "), "Reconnecting… → Live", "what the pill said");
  check(await box.isChecked(), "the tick was lost");
  await control("/say?host=node3&text=after-restart");
  await tail.locator("#log", { hasText: "after-restart" }).waitFor();
  const lines = await tail.locator("#log div").evaluateAll((l) => l.map((d) => d.textContent.slice(9)).slice(-4));
  equal(lines.join(), "before-restart,meanwhile-1,meanwhile-2,after-restart", "log lines");
  await page.context().close();
});

test("200 machines with 10 changes a second stay usable", async () => {
  await control("/many");
  const page = await open();
  await login(page);
  await page.locator("#link", { hasText: "Live" }).waitFor();
  await page.evaluate(() => {
    window.blocked = 0;
    new PerformanceObserver((l) => { for (const e of l.getEntries()) window.blocked = Math.max(window.blocked, e.duration); }).observe({ type: "longtask" });
  });
  await page.fill("#filter", "52:54:00");
  await page.focus("#filter");
  for (let i = 0; i < 20; i++) { await control("/touch?n=10"); await page.waitForTimeout(100); }
  equal(await page.evaluate(() => document.activeElement.id), "filter", "focus");
  equal(await page.inputValue("#filter"), "52:54:00", "filter");
  console.log(`  longest block of the main thread: ${Math.round(await page.evaluate(() => window.blocked))} ms`);
  await page.context().close();
});

pageTests({ test, check, equal, open, login, control, axe, shot, noScroll, cfg, pages });

let bad = 0;
for (const t of tests) {
  if (!t.name.includes(only)) continue;
  const began = Date.now(), before = faults.length;
  try { await t.fn(); } catch (e) { faults.push(`${e.message}`); }
  const mine = faults.slice(before);
  console.log(`${mine.length ? "FAIL" : "ok  "} ${t.name} (${Date.now() - began} ms)`);
  for (const f of mine) console.log(`     ${f}`);
  bad += mine.length;
}
await browser.close();
process.exit(bad ? 1 : 0);
