// Every page in both themes and on a phone, and what a machine's page does.
import { readFileSync } from "node:fs";
import { test, check, equal, open, login, control, axe, shot, noScroll, cfg } from "./lib.mjs";

// What there is to look at; web/browserpages_test.go holds it to the program's routes.
export const { pages } = JSON.parse(readFileSync(new URL("pages.json", import.meta.url), "utf8"));
const pathOf = async (path) => {
  const job = path.match(/\{job of (.*)\}/);
  return job ? path.replace(job[0], await (await fetch(`${cfg.control}/job?host=${job[1]}`)).text()) : path;
};
export const themes = { light: { colorScheme: "light" }, dark: { colorScheme: "dark" }, phone: { colorScheme: "light", viewport: { width: 390, height: 844 } } };

test("every page in both themes and on a phone", () => Promise.all(Object.entries(themes).map(async ([mode, options]) => {
  const page = await open(options);
  page.expectErrors = ["404"];
  const before = ["login", "first-run"], after = Object.keys(pages).filter((p) => !before.includes(p));
  for (const name of [...before, ...after]) {
    if (name === after[0]) await login(page);
    await page.goto(cfg.url + await pathOf(pages[name]));
    if (name === "installed") await page.click("#more-role > summary");
    if (mode !== "phone") await axe(page, `${name} ${mode}`); // the colours and the words of a phone's page are the light one's
    await shot(page, `${name}-${mode}`);
    await noScroll(page, `${name} ${mode}`);
  }
  await page.context().close();
})));

test("a wrong serial is refused in words, the right one goes on", async () => {
  const page = await open();
  page.expectErrors = ["409", "422"];
  await login(page);
  await page.goto(cfg.url + pages.confirm);
  await page.click("[data-dialog=install]");
  await page.fill("[name=confirm-os]", "WRONG");
  await page.click("#install button.danger");
  await page.locator("#summary").waitFor();
  equal(await page.evaluate(() => document.activeElement.id), "summary", "focus after an error");
  equal(await page.inputValue("[name=confirm-os]"), "WRONG", "value kept");
  await axe(page, "refused");
  await shot(page, "refused");
  await page.fill("[name=confirm-os]", "F2A");
  await page.fill("[name=confirm-data]", "F2B");
  await page.locator("[name=wipe]").first().check();
  await page.click("#install button.danger");
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
  await control("/touch");
  await page.waitForTimeout(500);
  check(await page.getByText("This is what role server would do").isVisible(), "a patch took the preview away");
  equal(await page.inputValue("#name"), "preview", "name");
  equal(await page.inputValue("#role"), "server", "role");
  await axe(page, "preview");
  await shot(page, "preview");
  await page.context().close();
});
