//! A browser with several windows of the page for people, used as people use it: by clicks and keys.
#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::wd::WindowHandle;
use fantoccini::{Client, ClientBuilder, Locator};
use harness::peer::browser::find;
use harness::people;
use harness::plan::{BrowserPlan, Engine};
use harness::signaling::{Identity, Limits, Server, ServerConfig};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Map, Value, json};

/// Past this something does not come at all.
const DEADLINE: Duration = Duration::from_secs(30);

/// A server with the page, at a port of its own or at that of another which has ended.
pub async fn server(port: u16) -> Server {
    let listen = ([127, 0, 0, 1], port).into();
    let config = ServerConfig {
        listen,
        identity: Identity::generate(&[]).unwrap(),
        pages: people::pages(&[]),
        limits: Limits::default(),
    };
    Server::start(config).await.unwrap()
}

/// A browser, behind a guard that ends it with the test.
pub struct Browser {
    client: Client,
    guard: Child,
    _dir: tempfile::TempDir,
}

impl Browser {
    pub async fn start(engine: Engine) -> Self {
        let installation = find(engine, &BrowserPlan::default()).await;
        let installation = installation.unwrap_or_else(|error| panic!("{error}; {}", error.remedy()));
        let (args, announcement): (&[&str], _) = match engine {
            Engine::Firefox => (&["--port=0", "--websocket-port=0", "--log=info"], "Listening on 127.0.0.1:"),
            _ => (&["--port=0"], "started successfully on port "),
        };
        let dir = tempfile::tempdir().unwrap();
        let mut guard = Command::new(env!("CARGO_BIN_EXE_harness"))
            .arg("guard")
            .arg("--dir")
            .arg(dir.path().join("browser"))
            .arg("--")
            .arg(installation.driver)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(guard.stdout.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains(announcement)).expect("the driver announces its port");
        // What else it says must be read, lest it waits.
        std::thread::spawn(move || lines.for_each(drop));
        let (_, rest) = line.split_once(announcement).unwrap();
        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities(engine, &installation.browser.display().to_string()));
        let client = builder.connect(&format!("http://127.0.0.1:{port}")).await.unwrap();
        Self { client, guard, _dir: dir }
    }

    /// Opens the page in a window of its own, and waits until it can call.
    pub async fn open(&self, url: &str) -> Window<'_> {
        let window = self.visit(url).await;
        window.until("document.querySelector('#status').textContent === 'Ready'").await;
        window
    }

    /// Opens any page in a window of its own.
    pub async fn visit(&self, url: &str) -> Window<'_> {
        let handle = self.client.new_window(false).await.unwrap().handle;
        let window = Window { browser: self, handle };
        window.client().await.goto(url).await.unwrap();
        window
    }

    /// Ends it without a word to its pages.
    pub async fn kill(mut self) {
        drop(self.guard.stdin.take());
        tokio::task::spawn_blocking(move || self.guard.wait()).await.unwrap().unwrap();
    }

    /// Ends it, and waits for that.
    pub async fn close(self) {
        let _ = self.client.clone().close().await;
        self.kill().await;
    }
}

/// Without prompts and devices, and without looking at certificates: `browser_trust` is about those.
fn capabilities(engine: Engine, binary: &str) -> Map<String, Value> {
    let (name, key, options) = match engine {
        Engine::Firefox => (
            "firefox",
            "moz:firefoxOptions",
            json!({"binary": binary, "args": ["-headless"], "prefs": {
                "media.navigator.streams.fake": true,
                "media.navigator.permission.disabled": true,
                "media.autoplay.default": 0,
                "media.peerconnection.ice.obfuscate_host_addresses": false,
            }}),
        ),
        _ => (
            "chrome",
            "goog:chromeOptions",
            json!({"binary": binary, "args": [
                "--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
                "--autoplay-policy=no-user-gesture-required", "--disable-features=WebRtcHideLocalIpsWithMdns",
            ]}),
        ),
    };
    let all = json!({"browserName": name, "acceptInsecureCerts": true, key: options});
    all.as_object().unwrap().clone()
}

/// A window with the page.
pub struct Window<'a> {
    browser: &'a Browser,
    handle: WindowHandle,
}

impl Window<'_> {
    async fn client(&self) -> &Client {
        self.browser.client.switch_to_window(self.handle.clone()).await.unwrap();
        &self.browser.client
    }

    pub async fn script(&self, script: &str) -> Value {
        self.client().await.execute(script, Vec::new()).await.unwrap()
    }

    /// Waits until an expression of JavaScript is true.
    pub async fn until(&self, expression: &str) {
        let start = Instant::now();
        while self.script(&format!("return Boolean({expression})")).await != true {
            assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {expression}; {}", self.shown().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until an element shows a text.
    pub async fn until_text(&self, css: &str, text: &str) {
        self.until(&format!("document.querySelector({css:?}).textContent.includes({text:?})")).await;
    }

    /// Waits for a state of the page's phone: idle, calling, ringing or call.
    pub async fn until_state(&self, state: &str) {
        self.until(&format!("document.body.dataset.state === {state:?}")).await;
    }

    async fn shown(&self) -> String {
        let text = self.script("return document.body.dataset.state + ': ' + document.body.innerText").await;
        text.as_str().unwrap_or_default().to_owned()
    }

    pub async fn text(&self, css: &str) -> String {
        let text = self.script(&format!("return document.querySelector({css:?}).textContent")).await;
        text.as_str().unwrap().to_owned()
    }

    pub async fn click(&self, css: &str) {
        self.client().await.find(Locator::Css(css)).await.unwrap().click().await.unwrap();
    }

    pub async fn write(&self, css: &str, text: &str) {
        let element = self.client().await.find(Locator::Css(css)).await.unwrap();
        element.clear().await.unwrap();
        element.send_keys(text).await.unwrap();
    }

    /// Switches camera and microphone on.
    pub async fn send_all(&self) {
        for device in ["#camera", "#microphone"] {
            self.click(device).await;
            self.until(&format!("document.querySelector('{device}').ariaPressed === 'true'")).await;
        }
    }

    /// Closes the window, as a person does.
    pub async fn close(self) {
        let client = self.client().await;
        client.close_window().await.unwrap();
        // Commands go to the current window, which must be one that is there.
        let left = client.windows().await.unwrap().remove(0);
        client.switch_to_window(left).await.unwrap();
    }

    /// What the window shows, as PNG.
    pub async fn screenshot(&self) -> Vec<u8> {
        self.client().await.screenshot().await.unwrap()
    }

    pub async fn resize(&self, width: u32, height: u32) {
        self.client().await.set_window_size(width, height).await.unwrap();
    }
}

/// Connects two windows: one calls, the other answers.
pub async fn connect(caller: &Window<'_>, callee: &Window<'_>) {
    caller.write("#other", &callee.text("#own-id").await).await;
    caller.click("#call").await;
    callee.until_state("ringing").await;
    assert_eq!(callee.text("#caller").await, caller.text("#own-id").await);
    callee.click("#answer").await;
    for window in [caller, callee] {
        window.until_text("#status", "Connected").await;
    }
}
