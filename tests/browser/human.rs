//! A person takes part in a run in a browser of their own, here one that clicks as a person does.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::common::{Lab, NOISE_ALLOWED, Run, text};
use crate::people_support::{Browser, Window};
use harness::plan::Engine;
use serde_json::Value;

/// A native peer and a person, who are called by `offerer` and answer as `answerer`.
fn scenario(offerer: &str, answerer: &str, wait: &str, hold: &str) -> String {
    format!(
        r#"
name = "human"

[[peers]]
engine = "native"

[[peers]]
name = "me"
engine = "human"
wait = "{wait}"

[[topology.calls]]
offerer = "{offerer}"
answerer = "{answerer}"

[load]
hold = "{hold}"
"#
    )
}

/// A run that has invited people.
struct Invited<'a> {
    lab: &'a Lab,
    child: Child,
    said: BufReader<std::process::ChildStderr>,
    /// The links, in the order of the places.
    links: Vec<String>,
    text: String,
}

impl<'a> Invited<'a> {
    fn start(lab: &'a Lab, scenario: &str) -> Self {
        let path = lab.scenario("human", scenario);
        let out = lab.out();
        let mut arguments = vec!["run", text(&path), "--out", text(&out)];
        arguments.extend(NOISE_ALLOWED);
        let mut child = lab.command(&arguments).stdout(Stdio::null()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let (mut links, mut text) = (Vec::new(), String::new());
        while !text.contains("The run begins once") {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "it ended without inviting anybody:\n{text}");
            links.extend(line.split_whitespace().filter(|word| word.contains("/join/?")).map(str::to_owned));
            text.push_str(&line);
        }
        Self { lab, child, said, links, text }
    }

    /// Waits for the end of the run.
    async fn end(self) -> Run {
        let Self { lab, child, mut said, text, .. } = self;
        let (output, rest) = tokio::task::spawn_blocking(move || {
            let mut rest = String::new();
            std::io::Read::read_to_string(&mut said, &mut rest).unwrap();
            (child.wait_with_output().unwrap(), rest)
        })
        .await
        .unwrap();
        let mut run = Run::new(output, &lab.out());
        run.stderr = text + &rest;
        run
    }
}

async fn open<'a>(browser: &'a Browser, link: &str) -> Window<'a> {
    let window = browser.visit(link).await;
    window.until_state("invited").await;
    window
}

fn media_of<'a>(report: &'a Value, peer: &str) -> Vec<&'a Value> {
    report["media"].as_array().unwrap().iter().filter(|media| media["peer"] == peer).collect()
}

async fn takes_part(engine: Engine, offerer: &str, answerer: &str, camera: bool) {
    takes_part_in(engine, &scenario(offerer, answerer, "1min", "3s"), camera).await;
}

async fn takes_part_in(engine: Engine, scenario: &str, camera: bool) {
    let lab = Lab::new();
    let invited = Invited::start(&lab, scenario);
    let browser = Browser::start(engine).await;
    let person = open(&browser, &invited.links[0]).await;
    assert_eq!((person.text("#run").await, person.text("#peer").await), ("human".into(), "me/0".into()));
    if camera {
        person.click("#camera").await;
    }
    person.click("#join").await;
    person.until_text("#status", "In the call").await;
    person.until("document.querySelector('#remote').videoWidth > 0").await;
    person.until("document.querySelector('#own > *')").await;
    person.until_state("over").await;
    person.until_text("#status", "Done").await;

    let run = invited.end().await;
    run.assert_code(0).assert_says("1 of 1 joined").assert_says("human");
    let report = run.report();
    let media = media_of(&report, "me/0");
    assert_eq!(media.len(), 3, "{media:#?}");
    assert!(media.iter().all(|media| media["verified"] == true), "{media:#?}");
    let agent = report["environment"]["human"].as_str().unwrap();
    let sends = if camera { "camera and microphone" } else { "test picture and tone" };
    assert!(agent.contains("Mozilla/5.0") && agent.contains(sends), "{agent}");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_in_chromium_is_called() {
    takes_part(Engine::Chromium, "native", "me", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_in_chromium_calls_with_camera_and_microphone() {
    takes_part(Engine::Chromium, "me", "native", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_in_firefox_calls() {
    takes_part(Engine::Firefox, "me", "native", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_in_chromium_is_called_through_a_server_of_socket_io() {
    let scenario = scenario("native", "me", "1min", "3s") + "[signaling]\nprotocol = \"socketio\"\n";
    takes_part_in(Engine::Chromium, &scenario, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_closes_the_page_in_the_call_fails_it() {
    for (offerer, answerer) in [("native", "me"), ("me", "native")] {
        let lab = Lab::new();
        let invited = Invited::start(&lab, &scenario(offerer, answerer, "1min", "1min"));
        let browser = Browser::start(Engine::Chromium).await;
        let person = open(&browser, &invited.links[0]).await;
        person.click("#join").await;
        person.until_text("#status", "In the call").await;
        person.close().await;

        let run = invited.end().await;
        run.assert_code(1).assert_says("the person is gone: the page was closed or reloaded");
        let report = run.report();
        assert_eq!(report["failures"][0]["phase"], "media", "{}", report["failures"]);
        browser.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_to_which_nobody_comes_has_no_result() {
    let lab = Lab::new();
    let invited = Invited::start(&lab, &scenario("native", "me", "1s", "1s"));
    assert!(invited.text.contains("on this machine only"), "{}", invited.text);
    let run = invited.end().await;
    run.assert_code(3).assert_says("nobody has joined within 1 s").assert_says("press Join there");
    assert_eq!(run.report()["verdict"], "invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_before_the_run_begins_can_come_again_but_nobody_else_meanwhile() {
    let lab = Lab::new();
    let invited = Invited::start(&lab, &scenario("native", "me", "1min", "1s"));
    let browser = Browser::start(Engine::Chromium).await;
    let first = open(&browser, &invited.links[0]).await;
    let second = browser.visit(&invited.links[0]).await;
    second.until_text("#notice", "Somebody has opened this link already").await;
    let stranger = browser.visit(&invited.links[0][..invited.links[0].len() - 4]).await;
    stranger.until_text("#notice", "none of this run's").await;
    first.close().await;

    let again = open(&browser, &invited.links[0]).await;
    again.click("#join").await;
    again.until_text("#status", "Done").await;
    invited.end().await.assert_code(0);
    browser.close().await;
}

#[test]
fn ctrl_c_ends_a_run_that_waits_for_people() {
    let lab = Lab::new();
    let invited = Invited::start(&lab, &scenario("native", "me", "10min", "1s"));
    let pid = rustix::process::Pid::from_child(&invited.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(invited.end()).assert_code(130);
}

#[test]
fn people_are_invited_to_one_run_only() {
    let lab = Lab::new();
    let path = lab.scenario("human", &scenario("native", "me", "1s", "1s"));
    for more in [["--repeat", "2"], ["--find-capacity", "calls 1..2"]] {
        let run = lab.run(&path, &more);
        run.assert_code(2).assert_says("would have to come again for each");
        assert_eq!(run.record, None);
    }
}
