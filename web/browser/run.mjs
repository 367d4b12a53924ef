// Drives the pages in Chromium. Reads {shots, sites: {main, empty, crowd, large: {url, token, control, code}}} from stdin; exits 1 when
// anything is not as it should be. node run.mjs [part of a test's name]
import * as tools from "./lib.mjs";
import { pages, themes } from "./site.mjs";
import pageTests from "./pages.mjs";
import "./machines.mjs";
import "./dialogs.mjs";

pageTests({ ...tools, pages, themes });
await tools.run(process.argv[2] || "");
