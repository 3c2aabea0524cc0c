//! A scenario names programs that run behind its networks: what that means, and what is wrong with it.

use harness::plan::{Plan, ProgramPlan};
use harness::scenario::{Overrides, load};

const TWO: &str = r#"
name = "two"
[network]
driver = "kernel"
[[network.site]]
name = "home"
nat = "port-restricted"
[[network.site]]
name = "office"
firewall = "udp-blocked"
[[network.program]]
name = "client"
site = "office"
command = ["python3", "client.py"]
[[network.program]]
name = "server"
command = ["./server", "--port", "443"]
[[peers]]
name = "us"
site = "home"
[[peers]]
name = "them"
engine = "external"
site = "office"
"#;

fn plan(text: &str) -> Plan {
    load("a.toml", text, &Overrides::default()).unwrap_or_else(|errors| panic!("{errors}")).plan
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    let errors = load("a.toml", text, &Overrides::default()).expect_err("the scenario is wrong").to_string();
    for part in parts {
        assert!(errors.contains(part), "{part:?} is not in:\n{errors}");
    }
}

#[test]
fn programs_are_in_the_plan_and_survive_its_file() {
    let plan = plan(TWO);
    let programs = &plan.network.as_ref().unwrap().programs;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let client =
        ProgramPlan { name: "client".into(), site: Some("office".into()), command: words(&["python3", "client.py"]) };
    let server = ProgramPlan { name: "server".into(), site: None, command: words(&["./server", "--port", "443"]) };
    assert_eq!(*programs, [client, server]);
    let text = toml::to_string(&plan).unwrap();
    assert_eq!(load("plan.toml", &text, &Overrides::default()).unwrap_or_else(|errors| panic!("{errors}")).plan, plan);
    for (from, to, said) in [
        ("site = \"office\"\ncommand", "site = \"ofice\"\ncommand", "there is no network `ofice`"),
        ("name = \"server\"", "name = \"client\"", "there is a program named `client` already"),
        ("name = \"server\"", "name = \"a/b\"", "\"a/b\" cannot be a name"),
        ("driver = \"kernel\"", "driver = \"in-process\"", "only the kernel driver"),
    ] {
        assert!(text.contains(from), "{from}:\n{text}");
        let errors = load("plan.toml", &text.replace(from, to), &Overrides::default()).unwrap_err().to_string();
        assert!(errors.contains(said) && errors.starts_with("plan.toml:"), "{errors}");
    }
}

#[test]
fn a_network_with_nothing_but_a_program_is_there() {
    let (networks, peers) = TWO.split_once("[[peers]]").unwrap();
    let peers = peers.replace("engine = \"external\"\nsite = \"office\"", "site = \"home\"");
    let sites = |plan: Plan| plan.network.unwrap().sites.into_iter().map(|site| site.name).collect::<Vec<_>>();
    assert_eq!(sites(plan(&format!("{networks}[[peers]]{peers}"))), ["home", "office"]);
    assert_eq!(sites(plan(&format!("{networks}[matrix]\nsites = [\"home\"]\n"))), ["home", "home--2", "office"]);
}

#[test]
fn every_fault_is_named_with_its_place() {
    assert_says(
        &TWO.replace("site = \"office\"\ncommand", "site = \"ofice\"\ncommand"),
        &["a.toml:13:8: there is no network `ofice`; did you mean `office`?"],
    );
    assert_says(
        &TWO.replace("\"server\"", "\"client\""),
        &["a.toml:16:8: there is a program named `client` already; give it another name"],
    );
    assert_says(&TWO.replace("\"server\"", "\"../x\""), &["a.toml:16:8: \"../x\" cannot be a name"]);
    assert_says(&TWO.replace("\"server\"", "\"coturn\""), &["`coturn.log` is a file that the harness may write"]);
    assert_says(
        &TWO.replace("[\"python3\", \"client.py\"]", "[]"),
        &["a.toml:14:11: `network.program.0.command` is empty; give at least one"],
    );
    assert_says(
        &TWO.replace("[\"python3\", \"client.py\"]", "[\" \"]"),
        &["a.toml:14:11: the program `client` has no command; give the program and its arguments"],
    );
    assert_says(&TWO.replace("command = [\"python3\", \"client.py\"]", "comand = []"), &["did you mean `command`?"]);
    assert_says(
        &TWO.replace("driver = \"kernel\"\n", ""),
        &["only the kernel driver can put the program `server` behind the networks; use driver = \"kernel\""],
    );
    assert_says(
        &TWO.replace("name = \"client\"\nsite = \"office\"", "name = \"client\""),
        &[
            "nobody can be the client `them`: no program is in its network; add a [[network.program]] with site = \"office\"",
        ],
    );
}
