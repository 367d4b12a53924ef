// Opens the page in Chromium, signs in with the admin token, and watches a machine's row come by itself.
// usage: node watch.mjs URL TOKEN_FILE MAC SCREENSHOT PROFILE
// Says WATCHING once the list is open, APPEARED when the row is there, READY when its state is ready.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const [url, tokenFile, mac, shot, profile] = process.argv.slice(2);
const require = createRequire(new URL('../../../../web/browser/', import.meta.url));
const { chromium } = require('playwright-core');

const context = await chromium.launchPersistentContext(profile, {
  executablePath: '/usr/bin/chromium',
  headless: true,
  ignoreHTTPSErrors: true,
  viewport: { width: 1280, height: 800 },
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
try {
  const page = await context.newPage();
  page.on('pageerror', (e) => console.log('PAGE-ERROR ' + e));
  await page.goto(url, { timeout: 30000 });
  await page.fill('input[name=token]', readFileSync(tokenFile, 'utf8').trim());
  await Promise.all([page.waitForURL((u) => !u.pathname.startsWith('/login')), page.click('button.main')]);
  let loads = 0;
  page.on('framenavigated', () => loads++);
  const row = page.locator('#rows tr', { hasText: mac });
  if (await row.count()) throw new Error('the row is there before the machine was switched on');
  console.log('WATCHING ' + page.url());
  const start = Date.now();
  await row.waitFor({ timeout: 120000 });
  console.log(`APPEARED after ${Date.now() - start} ms`);
  await page.locator('#rows tr[data-state=ready]', { hasText: mac }).waitFor({ timeout: 120000 });
  if (loads) throw new Error('the page was loaded anew');
  await page.screenshot({ path: shot, fullPage: true });
  console.log(`READY after ${Date.now() - start} ms, screenshot ${shot}`);
} catch (e) {
  console.log('FAILED ' + e);
  process.exitCode = 1;
} finally {
  await context.close();
}
