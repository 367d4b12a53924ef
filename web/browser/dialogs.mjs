// What destroys something is confirmed in a dialog over the page; without script as a part of it.
import { test, check, equal, open, login, live, control, axe, shot, noScroll, targets, cfg } from "./lib.mjs";
import { pages, themes } from "./site.mjs";

const asks = { install: "/hosts/52-54-00-12-34-79", reinstall: pages.installed, "format-0": pages.installed, forget: pages.installed, restore: pages.settings, certificate: pages.settings };
const focus = (page) => page.evaluate(() => document.activeElement.textContent.trim());
const opener = (id) => `[data-dialog="${id}"]`;

for (const [mode, options] of Object.entries(themes)) {
  test(`confirmations: focus on Cancel, page behind inert, Escape, focus back, ${mode}`, async () => {
    const page = await open(options);
    await login(page);
    await control("/checkin?n=121&foreign=1"); // a machine with somebody's data, that waits for a word
    await page.goto(cfg.url + asks.install);
    await page.selectOption("#role", "worker");
    await page.click("#m-role button:has-text('Save')");
    for (const [id, path] of Object.entries(asks)) {
      await page.goto(cfg.url + path);
      await live(page);
      await page.focus(opener(id));
      await page.keyboard.press("Enter");
      const d = page.locator(`#${id}`);
      check(await d.evaluate((e) => e.matches(":modal")), `${id} is not over the page`);
      equal(await focus(page), "Cancel", `focus in ${id}`);
      await page.click("nav a", { trial: true, timeout: 200 }).then(() => { throw new Error(`the menu behind ${id} can be clicked`); }, () => {});
      for (let i = 0; i < 12; i++) {
        await page.keyboard.press("Tab");
        check(await page.evaluate((id) => document.activeElement === document.body || !!document.activeElement.closest(`#${id}`), id), `Tab leaves ${id} for the page behind`);
      }
      await axe(page, `${id} ${mode}`);
      await noScroll(page, `${id} ${mode}`);
      if (mode === "phone") await targets(page, `${id} ${mode}`);
      await page.screenshot({ path: `${cfg.shots}/ask-${id}-${mode}.png` });
      const typed = page.locator(`#${id} [name=typed], #${id} [name=confirm-os], #${id} [name=certificate]`).first();
      await typed.fill("half a word");
      await page.keyboard.press("Escape");
      check(!(await d.evaluate((e) => e.open)), `${id} stays open after Escape`);
      check(await page.locator(opener(id)).evaluate((e) => e === document.activeElement), `the focus is not back on what opened ${id}`);
      await page.click(opener(id));
      equal(await typed.inputValue(), "", `what was typed into ${id} before Escape`);
      await page.locator(`#${id} [data-close]`).click();
      check(!(await d.evaluate((e) => e.open)), `Cancel does not close ${id}`);
    }
    await page.context().close();
  });
}

test("a refused confirmation is open again with the reason; it expires while it is open when the disks change", async () => {
  const page = await open();
  page.expectErrors = ["422", "409"];
  await login(page);
  await page.goto(cfg.url + pages.installed);
  await live(page);
  await page.click(opener("reinstall"));
  await page.getByText("Erased:").first().waitFor();
  await page.getByText("Kept:").first().waitFor();
  await page.fill("#typed", "nodeX");
  await page.click("#reinstall button.danger");
  await page.locator("#reinstall:modal #summary").waitFor();
  equal(await page.evaluate(() => document.activeElement.id), "summary", "focus after a refusal");
  equal(await page.inputValue("#typed"), "nodeX", "what was typed");
  equal(await page.getAttribute("#typed", "aria-invalid"), "true", "the field is marked");
  await axe(page, "refused reinstall");
  await page.screenshot({ path: `${cfg.shots}/refused-reinstall.png` });
  await page.fill("#typed", "node1");
  await live(page);
  await control("/touch"); // what does not touch the disks leaves it alone
  await page.waitForTimeout(400);
  equal(await page.inputValue("#typed"), "node1", "what was typed, after a change beside the disks");
  await control("/swap?n=4&host=node1");
  await page.locator("#reinstall:modal").getByText("The disks or the role changed while you were confirming").waitFor();
  await page.locator("#reinstall").getByText("SWAPPED").first().waitFor();
  equal(await page.inputValue("#typed"), "", "what was typed for the old plan");
  equal(await focus(page), "Cancel", "focus in what expired");
  await axe(page, "expired");
  await page.screenshot({ path: `${cfg.shots}/expired.png` });
  await page.keyboard.press("Escape");
  await page.locator("#reinstall .error").waitFor({ state: "detached" });
  check(await page.locator(opener("reinstall")).evaluate((e) => e === document.activeElement), "the focus is not back");
  await page.goto(cfg.url + "/");
  await page.getByRole("link", { name: "Reinstall… node1" }).click(); // straight from the row
  await page.locator("#reinstall:modal").waitFor();
  equal(new URL(page.url()).search, "", "a reload does not ask again");
  await page.context().close();
});

test("a certificate that is none is refused in its dialog", async () => {
  const page = await open();
  page.expectErrors = ["422"];
  await login(page);
  await page.goto(cfg.url + pages.settings);
  await page.click(opener("certificate"));
  await page.fill("#cert-pem", "no PEM");
  await page.fill("#cert-key", "neither");
  await page.click("#certificate button.danger");
  await page.locator("#certificate:modal #summary").waitFor();
  equal(await page.evaluate(() => document.activeElement.id), "summary", "focus after a refusal");
  equal(await page.inputValue("#cert-pem"), "no PEM", "what was typed");
  equal(await page.inputValue("#cert-key"), "", "the private key is not sent back");
  await axe(page, "refused certificate");
  await page.screenshot({ path: `${cfg.shots}/refused-certificate.png` });
  await page.context().close();
});

test("without script a confirmation is a part of the page", async () => {
  const page = await open({ javaScriptEnabled: false });
  page.expectErrors = ["422"];
  await login(page);
  await page.goto(cfg.url + pages.ignored);
  await page.click(opener("forget"));
  check(await page.locator("#forget").isVisible(), "nothing opens");
  await shot(page, "ask-forget-no-script");
  await noScroll(page, "ask without script");
  await page.click("#forget [data-close]");
  check(!(await page.locator("#forget").isVisible()), "Cancel does not close it");
  await page.click(opener("forget"));
  await page.fill("#forget-typed", "no");
  await page.click("#forget button.danger");
  await page.locator("#forget #summary").waitFor();
  await page.context().close();
});
