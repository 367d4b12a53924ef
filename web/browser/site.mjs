// Every page in both themes and on a phone, and what a machine's page does.
import { test, check, equal, open, login, control, axe, shot, noScroll, cfg } from "./lib.mjs";

export const pages = { machines: "/", ready: "/hosts/52-54-00-12-34-01", confirm: "/hosts/52-54-00-12-34-02", installing: "/hosts/52-54-00-12-34-03", installed: "/hosts/52-54-00-12-34-04",
  failed: "/hosts/52-54-00-12-34-05", seen: "/hosts/52-54-00-12-34-06", ignored: "/hosts/52-54-00-12-34-07", expected: "/hosts/52-54-00-12-34-08", approval: "/hosts/52-54-00-12-34-09", roles: "/roles", fleet: "/roles?summary=1", media: "/media", network: "/network", activity: "/activity", filtered: "/activity?kind=machine", settings: "/settings", setup: "/setup", missing: "/hosts/nothing" };

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
      if (name === "installed") await page.click("#more-role > summary");
      await axe(page, `${name} ${mode}`);
      await shot(page, `${name}-${mode}`);
      await noScroll(page, `${name} ${mode}`);
    }
    await page.context().close();
  });
}

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
  await page.fill("[name=confirm-os]", "S1");
  await page.fill("[name=confirm-data]", "S2");
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
  await control("/touch?n=100");
  await page.waitForTimeout(500);
  check(await page.getByText("This is what role server would do").isVisible(), "a patch took the preview away");
  equal(await page.inputValue("#name"), "preview", "name");
  equal(await page.inputValue("#role"), "server", "role");
  await axe(page, "preview");
  await shot(page, "preview");
  await page.context().close();
});
