// What the browser tests share: a Chromium, sites to open, and checks that note every fault.
import { chromium } from "playwright-core";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { shots, sites } = JSON.parse(readFileSync(0, "utf8"));
export const cfg = { ...sites.main, ...sites, shots };
const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

export const faults = [];
const tests = [];
export const test = (name, fn) => tests.push({ name, fn });
export const check = (ok, what) => { if (!ok) throw new Error(what); };
export const equal = (got, want, what) => check(got === want, `${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);

// open makes a context that fails the test at any console error, CSP violation or request off-site.
export async function open(options = {}, site = cfg) {
  const ctx = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 900 }, ...options });
  await ctx.addInitScript(() => addEventListener("securitypolicyviolation", (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`)));
  const page = await ctx.newPage();
  page.setDefaultTimeout(10000);
  page.on("console", (m) => { if (m.type() === "error" && !(page.expectErrors || []).some((e) => m.text().includes(e))) faults.push(`console: ${m.text()}`); });
  page.on("pageerror", (e) => faults.push(`page error: ${e.message}`));
  page.on("request", (r) => { if (!r.url().startsWith(site.url) && !r.url().startsWith("data:")) faults.push(`request off-site: ${r.url()}`); });
  page.site = site;
  return page;
}

// login signs in with the token; on the main site once for all tests, as a person does: who signs in again and again is held up.
let signedIn = null;
export async function login(page) {
  if (page.site === cfg && signedIn) {
    await page.context().addCookies(await signedIn);
    await page.goto(cfg.url + "/");
    return;
  }
  const done = (async () => {
    await page.goto(page.site.url + "/login");
    await page.fill("#token", page.site.token);
    await page.click("main button");
    await page.waitForURL(page.site.url + "/");
    return page.context().cookies();
  })();
  if (page.site === cfg) signedIn = done;
  await done;
}

export const control = async (path, site = cfg) => {
  const r = await fetch(site.control + path, { method: "POST" });
  check(r.ok, `control ${path}: ${r.status} ${await r.text()}`);
};

// logOf is the log of a machine's last job as the API has it, a line each, without the time.
export const logOf = async (host, site = cfg) => (await (await fetch(`${site.control}/log?host=${host}`)).text()).trim().split("\n").map(plain);
export const plain = (line) => line.replace(/^\S+ /, "");

export async function axe(page, what) {
  await page.evaluate(axeSource);
  const r = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const v of r.violations) faults.push(`axe, ${what}: ${v.id} (${v.help}): ${v.nodes.slice(0, 3).map((n) => n.target + " " + (n.any[0]?.message || "")).join("; ")}`);
}

export const shot = (page, name) => page.screenshot({ path: `${cfg.shots}/${name}.png`, fullPage: true });
export const noScroll = async (page, what) => {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  check(over <= 0, `${what} scrolls sideways by ${over} px`);
};

// live waits until the page's stream stands.
export const live = (page) => page.locator("#link", { hasText: "Live" }).waitFor();

// row is the row of a machine.
export const row = (page, text) => page.locator("#rows tr", { hasText: text });

// targets finds what is too small to hit with a finger; links inside text are exempt (WCAG 2.5.8).
export const targets = async (page, what) => {
  const small = await page.evaluate(() => [...document.querySelectorAll("button, select, input:not([type=hidden]), summary, nav a, .chip, .acts-cell a, .button")].filter((e) => {
    const hit = e.matches("input[type=checkbox],input[type=radio]") ? e.closest("label") || document.querySelector(`label[for="${e.id}"]`) || e : e, r = hit.getBoundingClientRect();
    return e.checkVisibility() && r.width > 1 && (r.height < 39.5 || r.width < 39.5);
  }).map((e) => { const r = e.getBoundingClientRect(); return `${e.localName} "${(e.textContent || e.name || e.id).trim().slice(0, 30)}" ${Math.round(r.width)}×${Math.round(r.height)}`; }));
  if (small.length) faults.push(`${what}: smaller than 40 px: ${small.slice(0, 6).join(", ")}`);
};

// run runs the tests whose name has the given part; it says which failed and why, and ends the process.
export async function run(only) {
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
}
