//! Signaling protocols other than the harness's own: what a mapping must say, and who can speak them.

use serde_json::Value;

use super::check::check_credential;
use super::format::{Audio, Bulk, Peers, Scenario, SignalingProtocol, TopologyKind, Video};
use super::mapping;
use super::report::Report;
use crate::plan::{self, Engine, MediaDirection};
use crate::signaling::dialect::{
    LONGEST_SERIALIZED as LONGEST, METHODS, Plugin, Serialization, secrets_of_query, variables,
};
use crate::signaling::{Protocol, redacted};

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
        mapping::check(mapping, report);
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

/// Checks where the server is.
pub(super) fn check_url(url: &str, protocol: SignalingProtocol, report: &mut Report<'_>) {
    let path = "signaling.url";
    let (example, takes_query) = match protocol {
        SignalingProtocol::Harness | SignalingProtocol::Whip => ("wss://host:8443/ws", true),
        SignalingProtocol::Janus => ("wss://host:8989", true),
        SignalingProtocol::SocketIo => ("wss://host:3443", false),
        SignalingProtocol::PeerJs => ("wss://host:9000/path", false),
        SignalingProtocol::Mediasoup => ("wss://host:4443", false),
        SignalingProtocol::Kurento => ("wss://host:8433", false),
        SignalingProtocol::LiveKit => ("wss://host:7880", false),
    };
    if !url.strip_prefix("wss://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) {
        let help = format!("write {example}; the harness connects over TLS only, as browsers do");
        report.wrong(path, format!("{:?} is not the URL of a secure WebSocket", redacted(url)), help);
    }
    let (place, query) = url.split_once('?').map_or((url, None), |(place, query)| (place, Some(query)));
    let authority = place.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    if authority.contains('@') {
        let help = format!("write {example}");
        report.wrong(
            path,
            "a URL of a WebSocket has no user and no password, and a secret must not be in a file",
            help,
        );
    }
    if query.is_some() && !takes_query {
        let help = match protocol {
            SignalingProtocol::SocketIo => "write it as query = { … } of [signaling.socketio]".to_owned(),
            _ => format!("write {example}"),
        };
        report.wrong(path, "the query of the URL is made by the harness, and this one would be in its way", help);
    } else if secrets_of_query(url) {
        let help = "put it into an environment variable and write ${NAME_OF_THE_VARIABLE} in its place";
        report.wrong(path, "the query has a credential that is a literal: a secret must not be in a file", help);
    }
    for name in variables(url) {
        check_credential(report, path, &format!("${{{name}}}"));
    }
    if protocol == SignalingProtocol::LiveKit && place.trim_end_matches('/').ends_with("/rtc") {
        report.wrong(
            path,
            "the harness adds `/rtc` to the URL, as LiveKit's own clients do",
            format!("write {example}"),
        );
    }
}

/// Checks whom calls are with. Which calls there are is known.
pub(super) fn check_calls(scenario: &Scenario, report: &mut Report<'_>) {
    let signaling = &scenario.signaling;
    let protocol = plan::protocol(scenario);
    let ends_pairs =
        matches!(signaling.protocol, SignalingProtocol::Janus | SignalingProtocol::Whip | SignalingProtocol::Kurento);
    let name = protocol.name();
    let nobody_else = || format!("with `{name}` the server is the other end of every call: nobody calls anybody else");
    if ends_pairs && scenario.topology.kind == TopologyKind::Rooms {
        let help = "use kind = \"sfu\" for rooms of the server, or kind = \"pairs\"";
        report.wrong("topology.kind", nobody_else(), help);
    }
    if ends_pairs && scenario.matrix.is_some() {
        report.wrong("matrix", nobody_else(), "remove [matrix], and put the groups at sites with `site`");
    } else if ends_pairs && scenario.topology.kind == TopologyKind::Pairs {
        let engine = |name: &str| scenario.peers.iter().find(|group| group.name() == name).map(Peers::engine);
        let external = Some(Engine::External);
        if scenario.topology.calls.iter().any(|it| engine(&it.offerer) != external && engine(&it.answerer) != external)
        {
            let message =
                format!("with `{name}` the server is the other end of every call, and no group stands for it");
            let help =
                format!("add [[peers]] with name = \"{name}\" and engine = \"external\", and let the others call it");
            report.wrong("signaling.protocol", message, help);
        }
    }
    if let Some(id) = signaling.peerjs.as_ref().and_then(|peerjs| peerjs.id.as_deref()) {
        mapping::peerjs_id(id, scenario, report);
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
        mapping::words(report, &path, &Value::from(url.as_str()));
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
        for (args, why) in [("\"{to}\"", "no description"), ("{ to = \"{to}\" }", "no description")] {
            refused(&format!("{table}offer = {{ event = \"o\", args = [{args}], at = \"/0\" }}"), why);
        }
        refused(&format!("{table}candidate = {{ event = \"c\", args = [\"{{sdp}}\"], at = \"/0\" }}"), "no candidate");
        refused(&signal("\"{description}\"", "/0"), "does not say the signal");
        let both =
            format!("{}\noffer = {{ event = \"o\", args = [\"{{sdp}}\"], at = \"/0\" }}", signal("\"{signal}\"", "/0"));
        refused(&both, "`signal` stands for it");
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
        let text = "protocol = \"kurento\"\nurl = \"wss://h\"\n";
        refused(text, "no group stands for it");
        let server = "[[peers]]\nname = \"kurento\"\nengine = \"external\"\n";
        assert_eq!(plan(&format!("{text}{server}")).unwrap().signaling.protocol, Protocol::Kurento);
        refused(&format!("{text}[topology]\nkind = \"rooms\"\nsize = 3\n"), "nobody calls anybody else");
        let network = "[network]\n[[network.site]]\nname = \"home\"\npreset = \"open\"\n[matrix]\nengines = [[\"native\", \"native\"]]\n";
        refused(&format!("{text}{network}"), "nobody calls anybody else");
    }

    #[test]
    fn ids_of_peerjs_are_unlike_and_such_as_a_peer_server_takes() {
        let with = |id: &str, more: &str| format!("protocol = \"peerjs\"\n[signaling.peerjs]\nid = \"{id}\"\n{more}");
        refused(&with("{who}", ""), "{who} stands for nothing");
        refused(&with("{peer}-{role}", ""), "{peer} stands for nothing");
        refused(&with("me", ""), "both ends of a call would have the id");
        refused(&with("me  {role}", ""), "no PeerServer takes the id");
        plan(&with("me-{role}", "")).unwrap();
        let two = "[[peers]]\nname = \"page\"\ncount = 2\n[[peers]]\nname = \"other\"\ncount = 2\n";
        refused(&with("me-{role}", two), "have the same ids");
        plan(&with("{room}-{role}", "")).unwrap();
    }

    #[test]
    fn a_url_is_of_the_protocols_form_and_without_secrets() {
        refused("url = \"ws://h\"", "write wss://host:8443/ws");
        refused("protocol = \"socketio\"\nurl = \"http://h\"", "write wss://host:3443;");
        refused("protocol = \"socketio\"\nurl = \"wss://h?token=x\"", "write it as query = { … }");
        refused("url = \"wss://bob:hunter2@h/ws\"", "no user and no password");
        refused("url = \"wss://h/ws?token=hunter2\"", "a credential that is a literal");
        plan("url = \"wss://h/ws?token=${TOKEN}\"").unwrap();
        refused("protocol = \"livekit\"\nurl = \"wss://h/rtc\"", "adds `/rtc`");
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
