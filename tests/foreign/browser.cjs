// A tab of a browser with one client of docs/signaling.md for each of several calls:
// browser.cjs chromium|firefox PORT ROOM,offer|answer,ecdsa|rsa...
//
// Says for each call what arrived, a line of JSON each, once nobody holds its input any more. What the clients do is in page.js.
const { spawn } = require("child_process");
const { mkdtempSync, readFileSync, rmSync } = require("fs");
const { tmpdir } = require("os");
const path = require("path");

const PREPARATION = 20_000;

// Each with media without a device, addresses in place of mDNS names, and no traffic but the page's own.
const BROWSERS = {
  chromium: {
    driver: ["chromedriver", "--port=0"],
    capabilities: {
      browserName: "chrome",
      "goog:chromeOptions": {
        args: [
          "--headless",
          "--no-sandbox",
          "--disable-dev-shm-usage",
          "--disable-gpu",
          "--disable-background-networking",
          "--disable-component-update",
          "--use-fake-device-for-media-stream",
          "--use-fake-ui-for-media-stream",
          "--autoplay-policy=no-user-gesture-required",
          "--disable-features=WebRtcHideLocalIpsWithMdns",
        ],
      },
    },
  },
  firefox: {
    driver: ["geckodriver", "--port=0"],
    capabilities: {
      browserName: "firefox",
      "moz:firefoxOptions": {
        args: ["-headless"],
        prefs: {
          "media.navigator.streams.fake": true,
          "media.navigator.permission.disabled": true,
          "media.autoplay.default": 0,
          "media.autoplay.blocking_policy": 0,
          "media.peerconnection.ice.obfuscate_host_addresses": false,
          "media.gmp-manager.updateEnabled": false,
          "network.captive-portal-service.enabled": false,
          "network.connectivity-service.enabled": false,
        },
      },
    },
  },
};

const [browser, port, ...calls] = process.argv.slice(2);
const { driver, capabilities } = BROWSERS[browser];

/** The port on which a driver listens, which it tells on its output. */
function listening(child) {
  return new Promise((resolve, reject) => {
    let said = "";
    child.stdout.on("data", (data) => {
      said += data;
      const found = said.match(/(?:successfully on port |Listening on 127\.0\.0\.1:)(\d+)/);
      if (found) resolve(found[1]);
    });
    child.on("error", reject);
    child.on("exit", () => reject(new Error(`the driver ended: ${said}`)));
  });
}

async function command(url, method, body) {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
  const { value } = await answer.json();
  if (!answer.ok) throw new Error(`${method} ${url}: ${value.message}`);
  return value;
}

async function main() {
  // Chromium may leave its profile behind.
  const scratch = mkdtempSync(path.join(tmpdir(), "foreign-browser-"));
  const environment = { ...process.env, TMPDIR: scratch };
  const child = spawn(driver[0], driver.slice(1), { stdio: ["ignore", "pipe", "ignore"], env: environment });
  process.on("exit", () => {
    child.kill();
    rmSync(scratch, { recursive: true, force: true, maxRetries: 5 });
  });
  const drivers = `http://127.0.0.1:${await listening(child)}/session`;
  // The certificate is of no concern here; how a browser comes to trust it is tested elsewhere.
  const wanted = { ...capabilities, acceptInsecureCerts: true, timeouts: { script: PREPARATION } };
  const { sessionId } = await command(drivers, "POST", { capabilities: { alwaysMatch: wanted } });
  const session = `${drivers}/${sessionId}`;
  try {
    await command(`${session}/url`, "POST", { url: `https://localhost:${port}/healthz` });
    const script = `${readFileSync(path.join(__dirname, "page.js"), "utf8")}\nreturn prepare(arguments[0]);`;
    await command(`${session}/execute/sync`, "POST", { script, args: [calls.map((call) => call.split(","))] });
    for await (const _ of process.stdin);
    const said = await command(`${session}/execute/sync`, "POST", { script: "return window.said();", args: [] });
    said.forEach((counts) => console.log(JSON.stringify(counts)));
  } finally {
    await command(session, "DELETE");
  }
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(`${error}`);
    process.exit(1);
  },
);
