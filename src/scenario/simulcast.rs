//! Simulcast: where video can be published in several sizes, and who can choose among them.

use super::format::{Media, Peers, Scenario, SignalingProtocol, TopologyKind, Video};
use super::report::Report;
use crate::plan::Engine;

/// Checks the media, and the groups that ask for layers.
pub(super) fn check(scenario: &Scenario, report: &mut Report<'_>) {
    for (index, calls) in scenario.topology.calls.iter().enumerate() {
        if calls.media.as_ref().is_some_and(|media| media.simulcast) {
            let path = format!("topology.calls.{index}.media.simulcast");
            report.wrong(&path, "nobody in a call between two could choose a layer", "remove it");
        }
    }
    if scenario.media.simulcast {
        surroundings(scenario, report);
    }
    for (index, group) in scenario.peers.iter().enumerate() {
        let path = format!("peers.{index}");
        if scenario.media.simulcast && group.engine().carries_media() && group.direction.sends() {
            publisher(group, &path, report);
        }
        if !group.layers.is_empty() {
            subscriber(&scenario.media, group, &format!("{path}.layers"), report);
        }
    }
}

fn surroundings(scenario: &Scenario, report: &mut Report<'_>) {
    const PATH: &str = "media.simulcast";
    if scenario.media.video != Video::Vp8 {
        report.wrong(PATH, "simulcast needs VP8: the built-in H.264 has one size", "use video = \"vp8\", or remove it");
    }
    if scenario.topology.kind != TopologyKind::Sfu || scenario.matrix.is_some() {
        let help = "use kind = \"sfu\" in [topology], or remove it";
        report.wrong(PATH, "layers are chosen by a server that passes media on, and there is none", help);
    } else if scenario.signaling.protocol != SignalingProtocol::Janus {
        let help = "use protocol = \"janus\", or remove it";
        report.wrong(PATH, "of the protocols here only that of Janus has words for layers", help);
    }
}

fn publisher(group: &Peers, path: &str, report: &mut Report<'_>) {
    if group.engine() != Engine::Native && group.engine() != Engine::External {
        let message = format!("peers of the engine `{}` publish one size here", group.engine().name());
        report.wrong(&format!("{path}.engine"), message, "use engine = \"native\", or direction = \"recvonly\"");
    }
}

fn subscriber(media: &Media, group: &Peers, path: &str, report: &mut Report<'_>) {
    if !media.simulcast {
        report.wrong(path, "there are no layers to choose from", "add simulcast = true to [media], or remove it");
    } else if !group.direction.receives() {
        let help = "remove it, or let the group receive: direction = \"recvonly\"";
        report.wrong(path, "whoever subscribes to nobody asks for no layer", help);
    } else if group.engine() != Engine::Native {
        let message = format!("peers of the engine `{}` do not ask for layers", group.engine().name());
        report.wrong(path, message, "remove it, or use engine = \"native\"");
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::Layer;
    use crate::scenario::{Overrides, Surroundings, load, load_within};

    const JANUS: &str = "protocol = \"janus\"\nurl = \"wss://127.0.0.1:8989\"\njanus = { plugin = \"videoroom\" }\n[topology]\nkind = \"sfu\"\n";

    fn loaded(text: &str) -> Result<crate::plan::Plan, String> {
        let text = format!("name = \"s\"\n[signaling]\n{text}");
        load("s.toml", &text, &Overrides::default()).map(|loaded| loaded.plan).map_err(|errors| errors.to_string())
    }

    #[test]
    fn publishers_send_all_layers_and_subscribers_ask_for_theirs() {
        let text = format!(
            "{JANUS}[media]\nsimulcast = true\n[[peers]]\nname = \"speaker\"\ndirection = \"sendonly\"\n\
             [[peers]]\nname = \"viewer\"\ndirection = \"recvonly\"\nlayers = [\"quarter\", \"full\"]\n"
        );
        let plan = loaded(&text).unwrap();
        assert_eq!(plan.group("viewer").unwrap().layers, [Layer::Quarter, Layer::Full]);
        assert!(plan.group("speaker").unwrap().layers.is_empty());
        assert!(plan.calls.iter().all(|call| plan.media_of(call).video.as_ref().is_some_and(|video| video.simulcast)));
    }

    #[test]
    fn what_has_no_layers_is_refused() {
        let mesh = "[media]\nsimulcast = true\n[[peers]]\ncount = 2\n";
        assert!(loaded(mesh).unwrap_err().contains("a server that passes media on, and there is none"));
        let whip = "protocol = \"whip\"\nwhip = { publish = \"https://h/{room}\", play = \"https://h/{feed}\" }\n\
                    [topology]\nkind = \"sfu\"\n[media]\nsimulcast = true\n[[peers]]\ncount = 2\n";
        assert!(loaded(whip).unwrap_err().contains("only that of Janus has words for layers"));
        let h264 = format!("{JANUS}[media]\nvideo = \"h264\"\nsimulcast = true\n[[peers]]\ncount = 2\n");
        assert!(loaded(&h264).unwrap_err().contains("simulcast needs VP8"));
        let call = "[media]\n[[peers]]\nname = \"a\"\ncount = 2\n[[topology.calls]]\nofferer = \"a\"\nanswerer = \"a\"\n\
                    media = { simulcast = true }\n";
        assert!(loaded(call).unwrap_err().contains("nobody in a call between two could choose a layer"));
    }

    #[test]
    fn who_cannot_choose_a_layer_is_refused() {
        let peers = |media: &str, viewer: &str| {
            loaded(&format!(
                "{JANUS}{media}[[peers]]\nname = \"speaker\"\ndirection = \"sendonly\"\n[[peers]]\nname = \"viewer\"\n{viewer}"
            ))
            .unwrap_err()
        };
        let plain = peers("", "layers = [\"full\"]\n");
        assert!(plain.contains("there are no layers to choose from"), "{plain}");
        let silent = peers("[media]\nsimulcast = true\n", "direction = \"sendonly\"\nlayers = [\"full\"]\n");
        assert!(silent.contains("whoever subscribes to nobody asks for no layer"), "{silent}");
        let browser = peers("[media]\nsimulcast = true\n", "engine = \"chromium\"\nlayers = [\"full\"]\n");
        assert!(browser.contains("peers of the engine `chromium` publish one size here"), "{browser}");
        assert!(browser.contains("peers of the engine `chromium` do not ask for layers"), "{browser}");
    }

    #[test]
    fn own_video_must_have_every_layer() {
        let text = format!(
            "name = \"s\"\n[signaling]\n{JANUS}[media]\nsimulcast = true\nfixtures = \"own\"\n[[peers]]\ncount = 2\n"
        );
        let surroundings = Surroundings { has_variable: &|_| true, has_file: &|path| path.ends_with("vp8.ivf") };
        let missing = load_within("s.toml", &text, &Overrides::default(), surroundings).err().unwrap().to_string();
        assert!(
            missing.contains("vp8-half.ivf is missing") && missing.contains("vp8-quarter.ivf is missing"),
            "{missing}"
        );
        assert!(!missing.contains("vp8.ivf is missing"), "{missing}");
    }
}
