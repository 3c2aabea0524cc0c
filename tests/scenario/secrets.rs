//! A credential is a reference to the environment; a literal is refused, and never shown.

use harness::scenario::{Overrides, load};

fn scenario(credential: &str) -> String {
    format!(
        "name = \"a\"\n[[peers]]\ncount = 2\n[[ice.servers]]\nurls = [\"turn:127.0.0.1\"]\nusername = \"u\"\n\
         credential = {credential}\ntypo = 1\n"
    )
}

#[test]
fn a_reference_stays_a_reference() {
    let text = scenario("\"${TURN_SECRET}\"").replace("typo = 1\n", "");
    let loaded = load("a.toml", &text, &Overrides::default()).unwrap();
    assert_eq!(loaded.plan.ice.servers[0].credential.as_deref(), Some("${TURN_SECRET}"));
}

#[test]
fn a_literal_is_refused_and_hidden() {
    let text = scenario("\"hunter2\"").replace("typo = 1\n", "");
    let errors = load("a.toml", &text, &Overrides::default()).unwrap_err();
    assert!(errors.to_string().starts_with("a.toml:7:14: the credential is a literal"), "{errors}");
    assert!(!format!("{errors:?}").contains("hunter2"), "not in the excerpt either");
}

#[test]
fn a_literal_of_signaling_is_refused_and_hidden() {
    for (protocol, table) in [
        ("janus", "{ apisecret = \"hunter2\" }"),
        ("janus", "{ token = \"hunter2\" }"),
        ("whip", "{ publish = \"https://h\", token = \"hunter2\" }"),
        ("livekit", "{ key = \"k\", secret = \"hunter2\" }"),
    ] {
        let text = format!("name = \"a\"\n[signaling]\nprotocol = \"{protocol}\"\n{protocol} = {table}\n[[peers]]\n");
        let errors = load("a.toml", &text, &Overrides::default()).unwrap_err();
        assert!(errors.to_string().contains("the credential is a literal"), "{errors}");
        assert!(!format!("{errors:?}").contains("hunter2"), "{errors:?}");
    }
}

#[test]
fn a_literal_of_an_application_is_refused_and_hidden() {
    let table = "signal = { event = \"s\", args = [\"{signal}\"], at = \"/0\" }";
    let scenario = |url: &str, line: &str| {
        format!(
            "name = \"a\"\n[signaling]\nprotocol = \"socketio\"\n{url}socketio = {{ {table}, {line} }}\n[[peers]]\n"
        )
    };
    for literal in [
        "auth = { token = \"hunter2\" }",
        "auth = { user = { Password = \"hunter2\" } }",
        "query = { api_key = \"hunter2\" }",
        "join = { event = \"j\", args = [{ room = \"{room}\", password = \"hunter2\" }] }",
    ] {
        let errors = load("a.toml", &scenario("", literal), &Overrides::default()).unwrap_err();
        assert!(errors.to_string().contains("the credential is a literal"), "{literal}: {errors}");
        assert!(!format!("{errors:?}").contains("hunter2"), "{errors:?}");
        let reference = scenario("", &literal.replace("hunter2", "Bearer ${SECRET}"));
        let plan = toml::to_string(&load("a.toml", &reference, &Overrides::default()).unwrap().plan).unwrap();
        load("plan.toml", &plan, &Overrides::default()).unwrap();
        let errors =
            load("plan.toml", &plan.replace("Bearer ${SECRET}", "hunter2"), &Overrides::default()).unwrap_err();
        assert!(errors.to_string().contains("the credential is a literal"), "{errors}");
        assert!(!format!("{errors:?}").contains("hunter2"), "{errors:?}");
    }
    for url in ["wss://bob:hunter2@h", "wss://h?token=hunter2"] {
        let errors = load("a.toml", &scenario(&format!("url = \"{url}\"\n"), ""), &Overrides::default()).unwrap_err();
        assert!(!format!("{errors} {errors:?}").contains("hunter2"), "{errors:?}");
    }
}

#[test]
fn a_literal_in_a_plan_is_refused_and_hidden() {
    for (protocol, table) in [
        ("janus", "{ plugin = \"echotest\", apisecret = \"${SECRET}\" }"),
        ("janus", "{ plugin = \"echotest\", token = \"${SECRET}\" }"),
        ("whip", "{ publish = \"https://h\", token = \"${SECRET}\" }"),
        ("livekit", "{ key = \"k\", secret = \"${SECRET}\" }"),
    ] {
        let url = if protocol == "whip" { "" } else { "url = \"wss://h\"\n" };
        let kind = if protocol == "livekit" { "[topology]\nkind = \"sfu\"\n" } else { "" };
        let server = if protocol == "livekit" { "" } else { "[[peers]]\nname = \"server\"\nengine = \"external\"\n" };
        let text = format!(
            "name = \"a\"\n[signaling]\nprotocol = \"{protocol}\"\n{url}{protocol} = {table}\n{kind}[[peers]]\n{server}"
        );
        let plan = toml::to_string(&load("a.toml", &text, &Overrides::default()).unwrap().plan).unwrap();
        load("plan.toml", &plan, &Overrides::default()).unwrap();
        let errors = load("plan.toml", &plan.replace("${SECRET}", "hunter2"), &Overrides::default()).unwrap_err();
        assert!(errors.to_string().contains("the credential is a literal"), "{errors}");
        assert!(!format!("{errors:?}").contains("hunter2"), "{errors:?}");
    }
}

#[test]
fn a_literal_is_hidden_in_the_excerpts_of_other_errors() {
    for credential in ["\"hunter2\"", "['hunter2']"] {
        let errors = load("a.toml", &scenario(credential), &Overrides::default()).unwrap_err();
        assert!(!format!("{errors:?}").contains("hunter2"), "{errors:?}");
    }
    let text = scenario("\"${TURN_SECRET}\"");
    let set = vec!["ice.servers.0.credential=hunter2".into()];
    let errors = load("a.toml", &text, &Overrides { set, ..Overrides::default() }).unwrap_err();
    assert!(!format!("{errors:?}").contains("hunter2"), "{errors:?}");
}
