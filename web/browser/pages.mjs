import { randomBytes } from "node:crypto";

// What the pages beside the table can do. Called by run.mjs with its tools.
export default ({ test, check, equal, open, login, control, live, axe, shot, noScroll, logOf, cfg, pages, themes }) => {
  const publicKey = () => `ssh-ed25519 ${Buffer.concat([Buffer.from([0, 0, 0, 11]), Buffer.from("ssh-ed25519"), Buffer.from([0, 0, 0, 32]), randomBytes(32)]).toString("base64")}`;

  test("the log: pause on scroll up, follow, search, level, wrap, copy", async () => {
    const page = await open();
    await login(page);
    await page.goto(cfg.url + pages.installing);
    await page.locator("#link", { hasText: "Live" }).waitFor();
    const log = page.locator("#log"), top = () => log.evaluate((e) => e.scrollTop), atEnd = () => log.evaluate((e) => e.scrollHeight - e.scrollTop - e.clientHeight < 24);
    const say = (text) => control(`/say?text=${text}`);
    for (let i = 0; i < 30; i++) await say(`filler-${i}`);
    await log.getByText("filler-29").waitFor();
    check(await atEnd(), "the log does not follow");
    await log.evaluate((e) => { e.scrollTop = 0; });
    await page.getByText("Paused: follow again").waitFor();
    await say("while-paused");
    await log.getByText("while-paused").waitFor();
    equal(await top(), 0, "place in the log while somebody reads above");
    await page.getByText("1 new below").waitFor();
    await page.click("#log-follow");
    check(await atEnd(), "Follow does not go to the end");
    await page.fill("#log-find", "filler-1");
    await page.locator("#log-count", { hasText: "11 of " }).waitFor();
    equal(await log.locator("div:visible").count(), 11, "lines that hold the words");
    await say("filler-1x");
    await page.locator("#log-count", { hasText: "12 of " }).waitFor();
    await say("something-else");
    await page.waitForTimeout(300);
    equal(await log.locator("div:visible").count(), 12, "a new line that does not fit stays hidden");
    await page.fill("#log-find", "");
    await page.selectOption("#log-level", "error");
    const all = await logOf("node3"), errors = all.filter((l) => /\berror:|^failed\b/i.test(l)).length, warnings = all.filter((l) => /\bwarning:/.test(l)).length;
    check(errors > 0 && warnings > 0, "the log has no error or no warning");
    equal(await log.locator("div:visible").count(), errors, "errors");
    await page.selectOption("#log-level", "warn");
    equal(await log.locator("div:visible").count(), errors + warnings, "warnings and errors");
    await page.selectOption("#log-level", "");
    await page.click("#log-wrap");
    equal(await log.evaluate((e) => getComputedStyle(e).whiteSpace), "pre", "lines unwrapped");
    await page.click("#log-copy");
    await page.locator("#log-count", { hasText: /copied|Ctrl-C/ }).waitFor();
    await axe(page, "log tools");
    await shot(page, "log-tools");
    await page.context().close();
  });

  test("the strip of tasks and the pill are on every page and change by themselves", async () => {
    const page = await open();
    await login(page);
    await page.goto(cfg.url + "/settings");
    await page.locator("#link", { hasText: "Live" }).waitFor();
    await control("/checkin?n=84");
    await control("/assign?n=84&name=strip&role=plain"); // by somebody else
    await page.locator("#tasks li", { hasText: "Install of strip" }).getByText("step 6 of 10, install").waitFor();
    await page.goto(cfg.url + pages.installing);
    await live(page);
    await page.locator("#tasks").getByText("Install of node3").waitFor();
    await control(`/say?text=${encodeURIComponent("### Installing NixOS ###")}`); // what nixos-anywhere says, in our words
    await page.locator(".m-head").getByText("installing the boot loader").waitFor();
    await page.locator("#tasks").getByText("Install of node3").click();
    await page.getByRole("heading", { name: "Install of node3" }).waitFor();
    await page.context().close();
  });

  test("a machine that was only seen leads to how to netboot; the hive's summary is evaluated", async () => {
    const page = await open();
    await login(page);
    await page.goto(cfg.url + pages.seen);
    await page.getByRole("link", { name: "How to netboot" }).click();
    await page.getByText("Choose network boot").waitFor();
    await page.goto(cfg.url + "/roles");
    await page.getByRole("button", { name: /^Evaluate it/ }).click();
    await page.locator("#fleet").getByText("ata-BIG_4T_D51").waitFor();
    await page.context().close();
  });

  test("jobs and filtered activity", async () => {
    const page = await open();
    await login(page);
    await page.goto(cfg.url + "/activity?host=nobody");
    await page.getByText("Nothing fits.").waitFor();
    await axe(page, "activity without hits");
    await page.goto(cfg.url + "/activity");
    await page.getByRole("row", { name: /node2/ }).getByRole("link", { name: /Install as/ }).click();
    await page.getByRole("heading", { name: "Install of node2" }).waitFor();
    await page.context().close();
  });

  for (const [mode, options] of Object.entries({ phone: themes.phone, "no script": { javaScriptEnabled: false } })) {
    test(`set up, ${mode}`, async () => {
      const page = await open(options), see = async (what) => { if (options.javaScriptEnabled !== false) await axe(page, what); await shot(page, what.replaceAll(" ", "-")); await noScroll(page, what); };
      page.expectErrors = ["422"];
      await login(page);
      await page.goto(cfg.url + "/setup");
      await page.getByText("The DHCP server 10.83.0.1 answered on eth0").waitFor();
      await see(`setup ${mode}`);
      await page.check("input[value=server]");
      await page.fill("#range", "");
      await page.click("#network button:has-text('Save')");
      await page.locator("#summary", { hasText: "needs the first and last address" }).waitFor();
      if (options.javaScriptEnabled !== false) equal(await page.evaluate(() => document.activeElement.id), "summary", "focus after a refusal");
      await page.fill("#range", "10.83.0.200-10.83.0.220");
      await page.click("#network button:has-text('Save')");
      await page.getByText("it does not count before a restart").waitFor();
      await page.fill("#keys-text", `${publicKey()} ${mode.replace(" ", "")}@laptop`);
      await page.click("#keys button:has-text('Add')");
      await page.getByText(`${mode.replace(" ", "")}@laptop`).first().waitFor();
      await see(`setup saved ${mode}`);
      await page.context().close();
    });
  }

  for (const [mode, options] of Object.entries({ script: {}, "no script": { javaScriptEnabled: false } })) {
    test(`an earlier stage-0 image is used again, ${mode}`, async () => {
      const page = await open(options, cfg.empty), next = `lab-${mode.replace(" ", "-")}`;
      const bootsWith = async (n) => (await (await fetch(`${cfg.empty.control}/script?n=${n}`)).text()).match(/kernel\?v=([0-9a-f]+)/)?.[1];
      await control("/image", cfg.empty);
      await control(`/image?version=${next}`, cfg.empty); // a newer one, which is in use at once
      await login(page);
      await page.goto(cfg.empty.url + "/media");
      const versions = page.locator("table", { hasText: "Stage-0 images that were put in" });
      const used = versions.locator("tbody tr", { hasText: "in use" }), other = versions.locator("tbody tr").filter({ hasNotText: "in use" }).first();
      equal(await used.locator("th").innerText(), next, "the version in use");
      const version = await other.locator("th").innerText(), digest = await other.locator("td[data-label=Digest]").innerText(), before = await bootsWith(42);
      check(before && before !== digest, `a machine boots ${before} already`);
      await other.getByRole("button", { name: `Use this one: ${version} for x86_64` }).click();
      await page.getByText(`Machines of kind x86_64 that netboot from now on get ${version}.`).waitFor();
      equal(await used.locator("th").innerText(), version, "the version in use");
      equal(await versions.getByRole("row", { name: next }).getByRole("button", { name: /^Use this one/ }).count(), 1, "ways back");
      equal(await bootsWith(43), digest, "what a machine boots from now on");
      if (mode === "script") await axe(page, "versions");
      await shot(page, `versions-${mode.replace(" ", "-")}`);
      await noScroll(page, "versions");
      await page.goto(cfg.empty.url + "/activity");
      await page.getByText(`Stage-0 ${version} for x86_64 is used from now on, by admin.`).first().waitFor();
      await page.context().close();
    });
  }

  test("first run: code, password, network, keys, without script", async () => {
    const page = await open({ javaScriptEnabled: false }, cfg.empty);
    page.expectErrors = ["ERR_CONNECTION"]; // while it restarts
    await page.goto(cfg.empty.url + "/first-run");
    await page.fill("#code", cfg.empty.code);
    await page.fill("#password", "correct horse battery");
    await page.fill("#again", "correct horse battery");
    await page.click("main button");
    await page.getByText("The password is set. Two more things").waitFor();
    check(await page.locator("input[value=proxy]").isChecked(), "the proposal is not ticked");
    await shot(page, "first-run-network");
    await page.click("#network button:has-text('Save')");
    await page.getByText("it does not count before a restart").waitFor();
    await page.click("text=Restart now");
    await page.getByText("It takes about five seconds").waitFor();
    await page.waitForURL(cfg.empty.url + "/", { timeout: 20000 }); // the page comes back by itself, without script too
    await page.getByRole("heading", { name: "Machines" }).waitFor();
    await page.context().close();
  });
};
