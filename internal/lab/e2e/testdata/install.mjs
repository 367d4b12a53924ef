// Installs a machine with the mouse alone: signs in, waits for the machine, gives it a role, watches until it is installed.
// usage: node install.mjs URL TOKEN_FILE MAC ROLE SHOTS PROFILE
// Says WATCHING once the list is open, ASSIGNED with the number of clicks after the sign-in, LOG once lines of the install are
// on the machine's page, RESUMED once the stream stood again after the appliance was killed, INSTALLED at the end, and LINES
// with what the log of the page holds.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const [url, tokenFile, mac, role, shots, profile] = process.argv.slice(2);
const require = createRequire(new URL('../../../../web/browser/', import.meta.url));
const { chromium } = require('playwright-core');
const must = (ok, what) => { if (!ok) throw new Error(what); };

const context = await chromium.launchPersistentContext(profile, {
  executablePath: '/usr/bin/chromium', headless: true, ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 },
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
try {
  context.setDefaultTimeout(300000);
  const page = await context.newPage();
  page.on('pageerror', (e) => console.log('PAGE-ERROR ' + e));
  page.on('console', (m) => { if (m.text().includes('Content Security Policy')) console.log('PAGE-ERROR ' + m.text()); });
  await page.goto(url);
  await page.fill('input[name=token]', readFileSync(tokenFile, 'utf8').trim());
  await Promise.all([page.waitForURL((u) => !u.pathname.startsWith('/login')), page.click('button.main')]);
  await page.locator('#link', { hasText: 'Live' }).waitFor();
  let loads = 0;
  page.on('framenavigated', () => loads++);
  await page.evaluate(() => {
    window.pill = [];
    new MutationObserver(() => window.pill.push(document.getElementById('link').textContent)).observe(document.getElementById('link'), { childList: true });
  });
  console.log('WATCHING ' + page.url());

  let clicks = 0;
  const click = async (l) => { await l.click(); clicks++; };
  const row = page.locator('#rows tr', { hasText: mac });
  await row.getByRole('link', { name: /^Assign role/ }).waitFor();
  await page.screenshot({ path: `${shots}/e2e-ready.png`, fullPage: true });
  await click(row.getByRole('link', { name: /^Assign role/ }));
  await click(page.getByRole('dialog').getByRole('button', { name: role }));
  await page.locator('#rows tr:not([data-state=ready])', { hasText: mac }).waitFor();
  must(loads === 0, 'the page was loaded anew');
  console.log(`ASSIGNED with ${clicks} clicks`);

  // Progress as the row tells it: noted at every change, judged at the end.
  await page.evaluate((mac) => {
    window.steps = [];
    document.addEventListener('patched', () => {
      const r = [...document.querySelectorAll('#rows tr')].find((r) => r.textContent.includes(mac)), text = r?.querySelector('.state .sub').textContent;
      if (r && text !== window.steps.at(-1)) window.steps.push(text);
    });
  }, mac);
  const tail = await context.newPage();
  tail.on('pageerror', (e) => console.log('PAGE-ERROR ' + e));
  await tail.goto(new URL('/hosts/' + mac.replaceAll(':', '-'), url).href);
  await tail.locator('#log div:not(.muted)').nth(3).waitFor();
  console.log('LOG'); // the appliance is killed now, and started again
  await page.waitForFunction(() => window.pill.includes('Reconnecting…') && window.pill.at(-1) === 'Live');
  console.log('RESUMED ' + (await page.evaluate(() => window.pill.join(' → '))));

  await page.locator('#rows tr[data-state=installing] progress', { hasText: mac }).or(row.locator('progress')).first().waitFor();
  await page.screenshot({ path: `${shots}/e2e-installing.png`, fullPage: true });
  await tail.screenshot({ path: `${shots}/e2e-machine.png`, fullPage: true });
  await Promise.race([page.locator('#rows tr[data-state=installed]', { hasText: mac }).waitFor({ timeout: 600000 }),
    page.locator('#rows tr[data-state=failed]', { hasText: mac }).waitFor({ timeout: 600000 }).then(async () => { throw new Error('it failed: ' + await row.innerText()); })]);
  await page.screenshot({ path: `${shots}/e2e-installed.png`, fullPage: true });
  must(loads === 0, 'the page was loaded anew');
  const steps = await page.evaluate(() => window.steps);
  console.log(`INSTALLED; the row said ${JSON.stringify(steps)}`);
  await tail.locator('#log', { hasText: 'installed' }).first().waitFor({ timeout: 20000 }).catch(() => {});
  const lines = await tail.locator('#log div:not(.muted)').evaluateAll((l) => l.map((d) => d.textContent));
  console.log('LINES ' + JSON.stringify(lines));
} catch (e) {
  console.log('FAILED ' + e);
  process.exitCode = 1;
} finally {
  await context.close();
}
