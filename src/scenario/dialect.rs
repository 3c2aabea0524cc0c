//! Signaling protocols other than the harness's own: what a mapping must say, and who can speak them.

use serde_json::Value;

use super::check::check_credential;
use super::format::{Audio, Bulk, Peers, Scenario, SignalingProtocol, TopologyKind, Video};
use super::report::Report;
use crate::plan::{self, Engine, MediaDirection};
use crate::signaling::Protocol;
use crate::signaling::dialect::{
    LONGEST_SERIALIZED as LONGEST, METHODS, Plugin, Serialization, SocketIo, check_arguments, check_pointer,
    known_words,
};

/// Checks the protocol and its table.
pub(super) fn check(scenario: &Scenario, report: &mut Report<'_>) {
    let signaling = &scenario.signaling;
    let tables = [
        ("socketio", signaling.socketio.is_some(), SignalingProtocol::SocketIo),
        ("peerjs", signaling.peerjs.is_some(), SignalingProtocol::PeerJs),
        ("janus", signaling.janus.is_some(), SignalingProtocol::Janus),
        ("whip", signaling.whip.is_some(), SignalingProtocol::Whip),
        ("mediasoup", signaling.mediasoup.is_some(), SignalingProtocol::Mediasoup),
        ("livekit", signaling.livekit.is_some(), SignalingProtocol::LiveKit),
    ];
    for (name, _, _) in tables.iter().filter(|(_, is_there, of)| *is_there && signaling.protocol != *of) {
        let help = format!("add protocol = \"{name}\" to [signaling], or remove the table");
        report.wrong(
            &format!("signaling.{name}"),
            format!("`{name}` is for that protocol, which is not asked for"),
            help,
        );
    }
    if signaling.protocol == SignalingProtocol::Harness {
        return;
    }
    check_secrets(&plan::protocol(scenario), "signaling", report);
    if let Some(mapping) = &signaling.socketio {
        mapping_is_complete(mapping, report);
    }
    if signaling.protocol == SignalingProtocol::Janus {
        janus(scenario, report);
    }
    if signaling.protocol == SignalingProtocol::Whip {
        whip(scenario, report);
    }
    if signaling.protocol == SignalingProtocol::Mediasoup {
        mediasoup(scenario, report);
    }
    if signaling.protocol == SignalingProtocol::LiveKit {
        livekit(scenario, report);
    }
    if signaling.protocol == SignalingProtocol::Kurento && signaling.url.is_none() {
        let help = "add url = \"wss://host:8433\", and `ca` if its certificate is not publicly trusted";
        report.wrong("signaling.protocol", "the bundled server is no Kurento: it is not said where yours is", help);
    }
    let packed = signaling.peerjs.as_ref().is_some_and(|peerjs| peerjs.serialization != Serialization::Raw);
    if packed && scenario.media.data.echo_size.bytes > LONGEST {
        let message = "PeerJS cuts such a message into pieces, or refuses it, once it is serialised";
        report.wrong("media.data.echo_size", message, format!("use at most \"{LONGEST} B\""));
    }
    if let Some(id) = signaling.peerjs.as_ref().and_then(|peerjs| peerjs.id.as_deref()) {
        words(report, "signaling.peerjs.id", &Value::from(id));
    }
    pages(scenario, packed, report);
    if scenario.network.is_some() && scenario.peers.iter().any(|group| group.engine() == Engine::External) {
        let help = "leave `protocol` out, or [network]";
        report.wrong(
            "signaling.protocol",
            "programs behind networks are told of the harness's own protocol only",
            help,
        );
    }
}

/// Secrets refer to variables of the environment; `table` is where the settings of all protocols stand.
pub(crate) fn check_secrets(protocol: &Protocol, table: &str, report: &mut Report<'_>) {
    for (place, secret) in protocol.secrets() {
        check_credential(report, &format!("{table}.{}.{place}", protocol.name()), &secret);
    }
}

/// Whether pages of browsers or people come from the bundled server although another one is under test: they speak the harness's
/// own protocol only, and people are invited by nobody else.
pub(super) fn serves_pages(scenario: &Scenario) -> bool {
    let is_own = scenario.signaling.protocol == SignalingProtocol::Harness;
    let of_matrix = scenario.matrix.iter().flat_map(|matrix| matrix.engines.iter().flatten().copied());
    let mut engines = scenario.peers.iter().map(Peers::engine).chain(of_matrix);
    engines.any(|engine| engine == Engine::Human || engine.is_browser() && !is_own)
}

/// What the page of browsers and people cannot do with a server whose protocol this process speaks for it.
fn pages(scenario: &Scenario, packed: bool, report: &mut Report<'_>) {
    let has_page = |engine: Engine| engine == Engine::Human || engine.is_browser();
    let plugin = scenario.signaling.janus.as_ref().map(|janus| janus.plugin);
    for (index, group) in scenario.peers.iter().enumerate().filter(|(_, group)| has_page(group.engine())) {
        let (path, name) = (format!("peers.{index}.engine"), group.engine().name());
        if packed && scenario.media.data.enabled {
            let message = format!("the page of {name} peers writes messages of a data channel as they are");
            let help = "leave `serialization` of [signaling.peerjs] out, or use engine = \"native\"";
            report.wrong(&path, message, help);
        }
        if plugin == Some(Plugin::TextRoom) {
            let message =
                format!("the page of {name} peers does not speak the protocol of a textroom on its data channel");
            report.wrong(&path, message, "use engine = \"native\", or janus = { plugin = \"echotest\" }");
        }
    }
}

/// Janus is the other end of every call.
fn janus(scenario: &Scenario, report: &mut Report<'_>) {
    let signaling = &scenario.signaling;
    if signaling.url.is_none() {
        let help = "add url = \"wss://host:8989\", and `ca` if its certificate is not publicly trusted";
        report.wrong("signaling.protocol", "the bundled server is no Janus: it is not said where yours is", help);
    }
    if signaling.janus.as_ref().is_some_and(|janus| janus.plugin == Plugin::TextRoom) {
        textroom(scenario, report);
    }
}

/// A textroom offers, and has a data channel only.
fn textroom(scenario: &Scenario, report: &mut Report<'_>) {
    let media = &scenario.media;
    let echoes_only = media.data.enabled && media.data.bulk == Bulk::None;
    if media.video != Video::None || media.audio != Audio::None || !echoes_only {
        let help = "use video = \"none\", audio = \"none\", and `data` without `bulk`";
        report.wrong("media", "a textroom passes messages of a data channel on, and nothing else", help);
    }
    // Without calls, the first group offers.
    let calls = scenario.topology.calls.iter().enumerate();
    let mut offerers: Vec<_> =
        calls.map(|(index, calls)| (format!("topology.calls.{index}.offerer"), calls.offerer.as_str())).collect();
    if offerers.is_empty() {
        offerers.extend(scenario.peers.first().map(|group| ("peers.0".to_owned(), group.name())));
    }
    for (path, offerer) in offerers {
        let group = scenario.peers.iter().find(|group| group.name() == offerer);
        if group.is_some_and(|group| group.engine() != Engine::External) {
            let help = "let the group with engine = \"external\" offer: put it first, or name it as `offerer`";
            report.wrong(&path, "a textroom offers, and does not answer", help);
        }
    }
}

/// A server of WHIP is the other end of every call, and has a URL for each kind of them.
fn whip(scenario: &Scenario, report: &mut Report<'_>) {
    let Some(whip) = &scenario.signaling.whip else {
        let help = "add whip = { publish = \"https://host/whip/{peer}\", play = \"https://host/whep/{feed}\" }";
        return report.wrong("signaling.protocol", "it is not said where to publish", help);
    };
    if let Some(url) = &scenario.signaling.url {
        let message = format!("{url:?} is for servers with a WebSocket");
        report.wrong("signaling.url", message, "remove it: the URLs are in `whip`");
    }
    for (name, url) in [("publish", Some(&whip.publish)), ("play", whip.play.as_ref())] {
        let Some(url) = url else { continue };
        let path = format!("signaling.whip.{name}");
        if !url.starts_with("https://") && !url.starts_with("http://") {
            report.wrong(&path, format!("{url:?} is not the URL of a resource"), "write https://host/path");
        }
        words(report, &path, &Value::from(url.as_str()));
    }
    let mut directions = scenario.peers.iter().map(|group| group.direction);
    let plays = scenario.topology.kind == TopologyKind::Sfu && directions.any(|it| it != MediaDirection::SendOnly);
    if whip.play.is_none() && plays {
        report.wrong(
            "signaling.whip",
            "nobody can play: it is not said where",
            "add play = \"https://host/whep/{feed}\"",
        );
    }
}

/// An application of mediasoup is a server that passes media on.
fn mediasoup(scenario: &Scenario, report: &mut Report<'_>) {
    let signaling = &scenario.signaling;
    if signaling.url.is_none() {
        let help = "add url = \"wss://host:4443\", and `ca` if its certificate is not publicly trusted";
        report.wrong("signaling.protocol", "the bundled server is no mediasoup: it is not said where yours is", help);
    }
    if scenario.topology.kind != TopologyKind::Sfu {
        let help = "add kind = \"sfu\" to [topology]";
        report.wrong("signaling.protocol", "mediasoup passes media on: nobody can call it", help);
    }
    let methods = signaling.mediasoup.iter().flat_map(|mediasoup| mediasoup.methods.keys());
    for name in methods.filter(|name| !METHODS.contains(&name.as_str())) {
        let message = format!("`{name}` is no method that simulated peers use");
        let help = format!("the methods are {}", METHODS.join(", "));
        report.wrong(&format!("signaling.mediasoup.methods.{name}"), message, help);
    }
}

/// LiveKit is a server that passes media on, to whom a token lets in.
fn livekit(scenario: &Scenario, report: &mut Report<'_>) {
    let signaling = &scenario.signaling;
    if signaling.url.is_none() {
        let help = "add url = \"wss://host:7880\", and `ca` if its certificate is not publicly trusted";
        report.wrong("signaling.protocol", "the bundled server is no LiveKit: it is not said where yours is", help);
    }
    if scenario.topology.kind != TopologyKind::Sfu {
        let help = "add kind = \"sfu\" to [topology]";
        report.wrong("signaling.protocol", "LiveKit passes media on: nobody can call it", help);
    }
    let settings = signaling.livekit.as_ref();
    if settings.is_some_and(|settings| settings.key.is_empty()) {
        report.wrong("signaling.livekit.key", "a token needs a key", "write the API key of your server");
    }
}

fn mapping_is_complete(mapping: &SocketIo, report: &mut Report<'_>) {
    let table = "signaling.socketio";
    let exchanges: Vec<_> = mapping.exchanges().collect();
    if mapping.signal.is_none() {
        for what in ["offer", "answer", "candidate"] {
            if !exchanges.iter().any(|(name, _)| *name == what) {
                let help =
                    format!("add {what} = {{ event = \"{what}\", args = […], at = \"/0/{what}\" }}, or `signal`");
                report.wrong(table, format!("it is not said which event is the {what}"), help);
            }
        }
    }
    for (what, exchange) in exchanges {
        let path = format!("{table}.{what}");
        pointer(report, &format!("{path}.at"), &exchange.at);
        if let Some(from) = &exchange.from {
            pointer(report, &format!("{path}.from"), from);
        }
        words(report, &format!("{path}.args"), &Value::from(exchange.args.clone()));
    }
    for (what, hear) in mapping.hearings() {
        pointer(report, &format!("{table}.{what}.at"), &hear.at);
    }
    if let Some(join) = &mapping.join {
        words(report, &format!("{table}.join.args"), &Value::from(join.args.clone()));
    }
    if let Some(auth) = &mapping.auth {
        words(report, &format!("{table}.auth"), auth);
    }
    for (name, value) in &mapping.query {
        words(report, &format!("{table}.query.{name}"), &Value::from(value.as_str()));
    }
}

fn pointer(report: &mut Report<'_>, path: &str, pointer: &str) {
    if !check_pointer(pointer) {
        let message = format!("{pointer:?} does not lead into the arguments of an event");
        report.wrong(path, message, "write the number of the argument, then the members: /0/offer/sdp");
    }
}

fn words(report: &mut Report<'_>, path: &str, template: &Value) {
    for word in check_arguments(template) {
        let message = format!("{{{word}}} stands for nothing");
        report.wrong(path, message, format!("the words are {}", known_words()));
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::Plan;
    use crate::scenario::{Overrides, load};
    use crate::signaling::Protocol;

    fn plan(text: &str) -> Result<Plan, String> {
        let peers = if text.contains("count = 2") { "" } else { "[[peers]]\ncount = 2\n" };
        let text = format!("name = \"d\"\n[signaling]\n{text}\n{peers}");
        load("d.toml", &text, &Overrides::default()).map(|loaded| loaded.plan).map_err(|errors| errors.to_string())
    }

    fn refused(text: &str, why: &str) {
        let said = plan(text).expect_err(text);
        assert!(said.contains(why), "{text}: {said}");
    }

    #[test]
    fn the_plan_carries_the_mapping_and_no_secret() {
        let text = "protocol = \"socketio\"\nurl = \"wss://h\"\n[signaling.socketio]\n\
                    signal = { event = \"signal\", args = [{ to = \"{to}\", data = \"{signal}\" }], at = \"/0/data\" }";
        let plan = plan(text).unwrap();
        let Protocol::SocketIo(mapping) = &plan.signaling.protocol else { panic!("{:?}", plan.signaling) };
        assert_eq!(mapping.exchanges().map(|(what, _)| what).collect::<Vec<_>>(), ["signal"]);
        let written = toml::to_string(&plan).unwrap();
        assert_eq!(toml::from_str::<Plan>(&written).unwrap().signaling, plan.signaling, "{written}");
    }

    #[test]
    fn a_mapping_must_say_all_and_in_words_that_exist() {
        let table = "protocol = \"socketio\"\n[signaling.socketio]\n";
        refused(&format!("{table}path = \"/x/\""), "which event is the offer");
        let signal =
            |args: &str, at: &str| format!("{table}signal = {{ event = \"s\", args = [{args}], at = \"{at}\" }}");
        refused(&signal("\"{whom}\"", "/0"), "{whom} stands for nothing");
        refused(&signal("\"{signal}\"", "data"), "does not lead into the arguments");
        refused("[signaling.socketio]\npath = \"/x/\"", "add protocol = \"socketio\"");
        refused("protocol = \"peerjs\"\n[signaling.peerjs]\nid = \"{who}\"", "{who} stands for nothing");
        let packed = "protocol = \"peerjs\"\npeerjs = { serialization = \"json\" }\n[media.data]\necho_size = ";
        refused(&format!("{packed}\"16 KiB\""), "PeerJS cuts such a message into pieces");
        plan(&format!("{packed}\"12000 B\"")).unwrap();
    }

    #[test]
    fn a_textroom_offers_a_data_channel() {
        let table = "protocol = \"janus\"\nurl = \"wss://h\"\njanus = { plugin = \"textroom\" }\n";
        let only_data = "[media]\nvideo = \"none\"\naudio = \"none\"\n";
        refused(table, "passes messages of a data channel on, and nothing else");
        refused(&format!("{table}{only_data}"), "a textroom offers, and does not answer");
        let room = "[[peers]]\nname = \"janus\"\nengine = \"external\"\n";
        refused(&format!("{table}{only_data}data = {{ bulk = \"reliable\" }}\n{room}"), "and nothing else");
        plan(&format!("{table}{only_data}{room}")).unwrap();
    }

    #[test]
    fn pages_take_part_in_what_this_process_can_say_for_them() {
        let with = |engine: &str, text: &str| {
            format!("{text}\n[[peers]]\nname = \"page\"\nengine = \"{engine}\"\ncount = 2\n")
        };
        for engine in ["chromium", "firefox", "human"] {
            for text in ["protocol = \"socketio\"", "protocol = \"peerjs\""] {
                plan(&with(engine, text)).unwrap();
            }
            let elsewhere = "protocol = \"peerjs\"\nurl = \"wss://h\"\nlisten = \"0.0.0.0:0\"";
            assert!(plan(&with(engine, elsewhere)).unwrap().has_bundled_server(), "{engine}");
            let packed = "protocol = \"peerjs\"\npeerjs = { serialization = \"json\" }";
            refused(&with(engine, packed), "writes messages of a data channel as they are");
            plan(&with(engine, &format!("{packed}\n[media.data]\nenabled = false"))).unwrap();
            let textroom = "protocol = \"janus\"\nurl = \"wss://h\"\njanus = { plugin = \"textroom\" }";
            refused(&with(engine, textroom), "does not speak the protocol of a textroom");
        }
        let own = "url = \"wss://h/ws\"";
        assert!(!plan(&with("chromium", own)).unwrap().has_bundled_server());
        assert!(plan(&with("human", own)).unwrap().has_bundled_server());
        refused("url = \"wss://h\"\nlisten = \"0.0.0.0:0\"", "`listen` is for the bundled server");
    }

    #[test]
    fn a_mediasoup_must_be_somewhere_and_pass_media_on() {
        let table = "protocol = \"mediasoup\"\nurl = \"wss://h\"\n";
        refused("protocol = \"mediasoup\"", "the bundled server is no mediasoup");
        refused(table, "add kind = \"sfu\"");
        let rooms = "[topology]\nkind = \"sfu\"";
        refused(
            &format!("{table}mediasoup = {{ methods = {{ cunsume = \"c\" }} }}\n{rooms}"),
            "`cunsume` is no method",
        );
        let plan = plan(&format!("{table}mediasoup = {{ methods = {{ consume = \"c\" }} }}\n{rooms}")).unwrap();
        assert!(matches!(plan.signaling.protocol, Protocol::Mediasoup(_)), "{:?}", plan.signaling);
    }

    #[test]
    fn a_livekit_must_be_somewhere_and_its_secret_elsewhere() {
        refused("protocol = \"livekit\"", "the bundled server is no LiveKit");
        let table = "protocol = \"livekit\"\nurl = \"wss://h\"\n";
        refused(table, "add kind = \"sfu\"");
        let with = |settings: &str| format!("{table}livekit = {{ {settings} }}\n[topology]\nkind = \"sfu\"");
        refused(&with("key = \"\""), "a token needs a key");
        refused(&with("secret = \"hunter2\""), "a secret must not be in a file");
        let plan = plan(&with("key = \"k\", secret = \"${LIVEKIT_SECRET}\"")).unwrap();
        let written = toml::to_string(&plan).unwrap();
        assert!(written.contains("secret = \"${LIVEKIT_SECRET}\""), "{written}");
        assert_eq!(toml::from_str::<Plan>(&written).unwrap().signaling, plan.signaling, "{written}");
    }

    #[test]
    fn a_kurento_must_be_somewhere() {
        refused("protocol = \"kurento\"", "the bundled server is no Kurento");
        assert_eq!(plan("protocol = \"kurento\"\nurl = \"wss://h\"").unwrap().signaling.protocol, Protocol::Kurento);
    }

    #[test]
    fn a_janus_must_be_somewhere() {
        refused("protocol = \"janus\"", "the bundled server is no Janus");
        refused(
            "protocol = \"janus\"\nurl = \"wss://h\"\n[signaling.janus]\ntoken = \"hunter2\"",
            "a secret must not be in a file",
        );
    }
}
