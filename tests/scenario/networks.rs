//! A scenario speaks of networks: what it means, and what is wrong with it.

use harness::net::oracle::Route;
use harness::net::spec::{Filtering, Layer, Loss, Mapping};
use harness::plan::{CredentialFault, IceTransportPolicy, NetworkDriver, Plan};
use harness::scenario::{Overrides, load};

const THREE: &str = r#"
name = "three"
[network]
[network.turn]
[[network.site]]
name = "home"
nat = "port-restricted"
[[network.site]]
name = "symmetric"
nat = "symmetric"
[[network.site]]
name = "office"
firewall = "tls-443-only"
[matrix]
"#;

fn plan(text: &str) -> Plan {
    load("a.toml", text, &Overrides::default()).unwrap_or_else(|errors| panic!("{errors}")).plan
}

fn with(text: &str, set: &[&str]) -> Plan {
    let set = set.iter().map(|set| (*set).to_owned()).collect();
    load("a.toml", text, &Overrides { set, ..Overrides::default() }).unwrap_or_else(|errors| panic!("{errors}")).plan
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    let errors = load("a.toml", text, &Overrides::default()).expect_err("the scenario is wrong").to_string();
    for part in parts {
        assert!(errors.contains(part), "{part:?} is not in:\n{errors}");
    }
}

fn expectations(plan: &Plan) -> Vec<(String, String)> {
    let cell = |call: &harness::plan::CallPlan| (call.set.clone(), call.cell.as_ref().unwrap().expected.to_string());
    plan.calls.iter().map(cell).collect()
}

#[test]
fn a_matrix_spells_out_every_pair_and_what_it_must_come_to() {
    let plan = plan(THREE);
    let expected = [
        ("home--home", "direct"),
        ("home--symmetric", "relay udp"),
        ("home--office", "relay udp/tls"),
        ("symmetric--home", "relay udp"),
        ("symmetric--symmetric", "relay udp"),
        ("symmetric--office", "relay udp/tls"),
        ("office--home", "relay tls/udp"),
        ("office--symmetric", "relay tls/udp"),
        ("office--office", "relay tls"),
    ];
    assert_eq!(expectations(&plan), expected.map(|(name, route)| (name.to_owned(), route.to_owned())));
    let call = &plan.calls[0];
    assert_eq!((call.id.as_str(), call.room.as_str()), ("home--home/0", "three-home--home-0"));
    assert_eq!((call.offerer.site.as_deref(), call.answerer.site.as_deref()), (Some("home"), Some("home--2")));
    assert_eq!(call.cell.as_ref().map(|cell| (cell.first.as_str(), cell.second.as_str())), Some(("home", "home")));
    let sites: Vec<_> =
        plan.network.as_ref().unwrap().sites.iter().map(|s| (s.name.as_str(), s.lan.to_string())).collect();
    assert_eq!(sites[0], ("home", "127.1.1.0/24".into()));
    assert_eq!(sites[5], ("office--2", "127.1.6.0/24".into()));
    assert_eq!(plan.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["native"]);
}

#[test]
fn a_plan_with_networks_survives_its_file_exactly() {
    let text = THREE.replace("[matrix]", "[[network.carrier]]\nname = \"isp\"\nlink = \"wifi\"\n[[network.site]]\nname = \"flat\"\nbehind = \"isp\"\nnat = \"home\"\ndown = { loss = \"2%\", burst = 3, schedule = [{ at = \"1s\", cut = true }] }\n[matrix]\nrepeat = 2");
    let plan = plan(&text);
    assert_eq!(plan.calls.len(), 32);
    let text = toml::to_string(&plan).unwrap();
    assert_eq!(toml::from_str::<Plan>(&text).unwrap(), plan);
    assert_eq!(load("plan.toml", &text, &Overrides::default()).unwrap_or_else(|errors| panic!("{errors}")).plan, plan);
    for (from, to, said) in [
        ("site = \"flat\"", "site = \"fat\"", "there is no network `fat`"),
        ("behind = \"isp\"", "behind = \"ips\"", "there is no carrier `ips`"),
        ("driver = \"in-process\"", "driver = \"im-process\"", "did you mean `in-process`?"),
        ("mapping = \"endpoint-independent\"", "mapping = \"random\"", "`mapping` cannot be `random`"),
        ("udp_lifetime_us = 300000000", "udp_lifetime_us = 0", "a lifetime is 0"),
        ("expected = \"direct\"", "expected = \"straight\"", "`expected` cannot be `straight`"),
    ] {
        assert!(text.contains(from), "{from}:\n{text}");
        let errors = load("plan.toml", &text.replace(from, to), &Overrides::default()).unwrap_err().to_string();
        assert!(errors.contains(said) && errors.starts_with("plan.toml:"), "{errors}");
    }
}

#[test]
fn tables_say_what_names_say() {
    let plan = plan(
        "name = \"a\"\n[[peers]]\nsite = \"x\"\n[[peers]]\nname = \"other\"\nsite = \"y\"\n[network]\ndriver = \"kernel\"\n\
         [[network.site]]\nname = \"x\"\nnat = { mapping = \"address-dependent\", udp_lifetime = \"10s\" }\n\
         firewall = { udp = { ports = [3478], otherwise = \"prohibited\" } }\nipv6 = \"stateful\"\n\
         link = \"cable\"\nup = { rate = \"1.5 Mbit/s\", loss = \"2%\" }\n[[network.site]]\nname = \"y\"\npreset = \"open\"\n",
    );
    let network = plan.network.as_ref().unwrap();
    assert_eq!((network.driver, network.sites[0].lan.to_string()), (NetworkDriver::Kernel, "192.168.1.0/24".into()));
    let site = &network.sites[0];
    let [Layer::Firewall(firewall), Layer::Nat(nat)] = &site.layers[..] else { panic!("{:?}", site.layers) };
    assert!(firewall.udp.allows(3478) && !firewall.udp.allows(443));
    assert_eq!((nat.mapping, nat.udp_lifetime_us), (Mapping::AddressDependent, 10_000_000));
    assert_eq!(nat.filtering, Filtering::AddressAndPortDependent);
    assert_eq!((site.up.conditions.rate_bps, site.up.conditions.loss), (Some(1_500_000), Loss::Random { ratio: 0.02 }));
    assert_eq!(site.up.conditions.delay_us, site.down.conditions.delay_us, "the rest is the profile's");
    assert_eq!(
        site.ipv6.as_ref().map(|ipv6| (ipv6.prefix.to_string(), ipv6.edge.is_some())),
        Some(("2a0f:1::/64".into(), true))
    );
    assert_eq!(plan.calls[0].answerer.site.as_deref(), Some("y"));
    assert!(plan.calls[0].cell.is_none());
}

#[test]
fn what_clients_do_and_what_they_are_judged_by_can_differ() {
    let judged = |plan: &Plan| (plan.policy_of(&plan.calls[0]), plan.calls[0].cell.as_ref().unwrap().expected);
    let relay = Route::Relayed {
        first: Some(harness::net::oracle::RelayTransport::Udp),
        second: Some(harness::net::oracle::RelayTransport::Udp),
    };
    assert_eq!(judged(&with(THREE, &[])), (IceTransportPolicy::All, Route::Direct));
    assert_eq!(judged(&with(THREE, &["ice.policy=relay"])), (IceTransportPolicy::Relay, Route::Direct));
    assert_eq!(judged(&with(THREE, &["matrix.policies=[\"relay\"]"])), (IceTransportPolicy::Relay, relay));
}

#[test]
fn a_fault_of_the_credential_changes_nothing_of_what_is_expected() {
    let right = with(THREE, &[]);
    let wrong = with(THREE, &["network.turn.credential=wrong"]);
    assert_eq!(expectations(&wrong), expectations(&right));
    let fault = |plan: &Plan| plan.network.as_ref().unwrap().turn.as_ref().unwrap().credential_fault;
    assert_eq!((fault(&right), fault(&wrong)), (None, Some(CredentialFault::WrongPassword)));
    let without_tls = with(THREE, &["network.turn.transports=[\"udp\", \"tcp\"]"]);
    let lost = expectations(&without_tls).into_iter().filter(|(_, route)| route == "none").map(|(name, _)| name);
    assert_eq!(
        lost.collect::<Vec<_>>(),
        ["home--office", "symmetric--office", "office--home", "office--symmetric", "office--office"]
    );
}

#[test]
fn a_part_of_a_matrix_takes_a_part_of_the_networks() {
    let plan = with(THREE, &["matrix.sites=[\"home\"]", "matrix.repeat=3"]);
    assert_eq!(
        plan.calls.iter().map(|call| call.id.as_str()).collect::<Vec<_>>(),
        ["home--home/0", "home--home/1", "home--home/2"]
    );
    assert_eq!(plan.network.unwrap().sites.len(), 2);
}

#[test]
fn every_fault_is_named_with_its_place() {
    let site = |keys: &str| format!("name = \"a\"\n[network]\n[[network.site]]\nname = \"x\"\n{keys}\n[matrix]\n");
    assert_says(&site("nat = \"simetric\""), &["a.toml:5:7: `nat` cannot be `simetric`; did you mean `symmetric`?"]);
    assert_says(
        &site("firewall = \"udp-bloked\""),
        &["`firewall` cannot be `udp-bloked`; did you mean `udp-blocked`?"],
    );
    assert_says(
        &site("nat = \"home\"\nlink = \"wify\""),
        &["a.toml:6:8: `link` cannot be `wify`; did you mean `wifi`?"],
    );
    assert_says(&site("preset = \"cgm\""), &["did you mean `cgn`?"]);
    assert_says(&site("nat = 3"), &["`nat` must be a text or a table, but is the number 3"]);
    assert_says(
        &site("nat = { maping = \"x\" }"),
        &["a.toml:5:9: unknown key `maping` in `network.site.0.nat`; did you mean `mapping`?"],
    );
    assert_says(&site("preset = \"cgn\"\nnat = \"home\""), &["a.toml:6:7: `preset` is the whole network"]);
    assert_says(&site(""), &["a.toml:3:1: nothing is said about what stands between `x` and the internet"]);
    assert_says(&site("nat = \"home\"\nbehind = \"isp\""), &["there is no carrier `isp`; there are no carriers"]);
    assert_says(&site("nat = \"home\"\nipv6 = \"open\""), &["which are IPv4 only; use driver = \"kernel\""]);
    assert_says(&site("nat = \"home\"\nup = { burst = 2 }"), &["`burst` says how losses come"]);
    assert_says(&site("nat = \"home\"\nup = { rate = \"1 MB\" }"), &["\"1 MB\" is not a bit rate: unknown unit"]);
    assert_says(&site("nat = { first_port = 9, last_port = 8 }"), &["first_port is greater than last_port"]);
    assert_says(&site("nat = \"home\"").replace("\"x\"", "\"x--y\""), &["cannot be the name of a network; `--` joins"]);
    assert_says(&THREE.replace("[network.turn]", "[network.turn]\nserver = \"coturn\""), &["only the kernel driver"]);
    assert_says(
        &THREE.replace("[network.turn]", "[network.turn]\ntransports = [\"udp\", \"sctp\"]"),
        &["cannot be `sctp`"],
    );
    assert_says(
        &THREE.replace("[network.turn]", "[network.turn]\nmisbehave = [\"silent\", \"drop-relay\"]"),
        &[
            "a.toml:5:24: `misbehave` cannot be `drop-relay`; did you mean `drop-relayed`? accepted names: wrong-realm, stale",
        ],
    );
    assert_says(&format!("{THREE}sites = [\"hoem\"]"), &["there is no network `hoem`; did you mean `home`?"]);
    assert_says(&format!("{THREE}engines = [[\"native\", \"chromium\"]]"), &["`chromium` is a program of its own"]);
    assert_says(&format!("{THREE}engines = [[\"native\"]]"), &["has 1 elements; 2 are needed"]);
    assert_says(&format!("{THREE}[topology]\nkind = \"pairs\""), &["[matrix] says who calls whom already"]);
    assert_says(&format!("{THREE}[[peers]]\nsite = \"home\""), &["`site` has no meaning in a matrix"]);
    assert_says(&format!("{THREE}[[peers]]\ncount = 3"), &["the matrix takes 18 peers of `native`, not 3"]);
    assert_says(
        &format!("{THREE}[[gate]]\nmetric = \"rtt_ms\"\nwhere = {{ calls = \"home--hom\" }}\nexpect = \"max < 1s\""),
        &["did you mean `home--home`?"],
    );
    assert_says("name = \"a\"\n[matrix]\n", &["a matrix is about networks, and the scenario has none"]);
    assert_says(
        "name = \"a\"\n[[peers]]\nsite = \"x\"\n",
        &["a.toml:3:8: `native` is to be in a network, but the scenario has none"],
    );
    let two = "name = \"a\"\n[[peers]]\nsite = \"x\"\n[network]\n[[network.site]]\nname = \"x\"\nnat = \"home\"\n[[network.site]]\nname = \"y\"\nnat = \"home\"\n";
    assert_says(two, &["a.toml:8:1: nobody is in the network `y`"]);
    assert_says(
        &two.replace("site = \"x\"", "site = \"z\""),
        &["there is no network `z`; did you mean `x`? networks: x, y"],
    );
    assert_says(&two.replace("site = \"x\"\n", ""), &["the group `native` is in no network"]);
    assert_says(
        &two.replace("[[peers]]", "[[peers]]\nengine = \"firefox\""),
        &["only the kernel driver can put it behind"],
    );
    assert_says(&format!("{two}[[ice.servers]]\nurls = [\"stun:a\"]"), &["the servers of [ice] cannot be reached"]);
    assert_says(&format!("{two}[[network.carrier]]\nname = \"isp\""), &["no network is behind the carrier `isp`"]);
}

#[test]
fn nothing_outside_of_the_networks_is_joined_to_programs_inside() {
    let kernel = THREE.replace("[network]", "[network]\ndriver = \"kernel\"");
    let browsers = kernel.replace("[matrix]", "[matrix]\nengines = [[\"chromium\", \"native\"]]");
    let url = "[signaling]\nurl = \"wss://example.org/ws\"\n";
    assert_says(&format!("{browsers}{url}"), &["cannot reach a server outside of them", "remove it"]);
    assert!(plan(&format!("{kernel}{url}")).signaling.url.is_some(), "simulated peers live outside");
    let grid = "[[peers]]\nengine = \"chromium\"\nwebdriver_url = \"http://grid.example:4444\"\n";
    assert_says(&format!("{browsers}{grid}"), &["a browser that runs elsewhere cannot be put behind a network"]);
}
