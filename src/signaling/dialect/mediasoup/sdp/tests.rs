use serde_json::json;

use super::*;

/// What a simulated peer that publishes offers, with a repair flow in addition.
const OFFER: &str = "v=0\r\n\
o=- 718683455544602937 339739559 IN IP4 0.0.0.0\r\n\
s=-\r\n\
t=0 0\r\n\
a=fingerprint:sha-256 a6:B4:DD\r\n\
a=extmap-allow-mixed\r\n\
a=group:BUNDLE 0 1\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96 97 98\r\n\
c=IN IP4 0.0.0.0\r\n\
a=setup:actpass\r\n\
a=mid:0\r\n\
a=ice-ufrag:ZhpxXOlYacOevQyY\r\n\
a=rtcp-mux\r\n\
a=rtcp-rsize\r\n\
a=rtpmap:96 H264/90000\r\n\
a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640028\r\n\
a=rtcp-fb:96 nack\r\n\
a=rtcp-fb:96 nack pli\r\n\
a=rtpmap:97 rtx/90000\r\n\
a=fmtp:97 apt=96\r\n\
a=extmap:4/sendonly urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
a=ssrc-group:FID 3783539764 12\r\n\
a=ssrc:3783539764 cname:harness\r\n\
a=ssrc:3783539764 msid:harness video\r\n\
a=ssrc:12 cname:harness\r\n\
a=sendonly\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
a=mid:1\r\n\
a=rtpmap:111 opus/48000/2\r\n\
a=fmtp:111 minptime=10;useinbandfec=1\r\n\
a=ssrc:7 cname:harness\r\n\
a=sendonly\r\n";

/// What mediasoup gives for a new transport.
fn transport() -> Transport {
    serde_json::from_value(json!({
        "id": "t", "iceParameters": {"usernameFragment": "u", "password": "p", "iceLite": true},
        "iceCandidates": [{"foundation": "udpcandidate", "priority": 1_076_302_079, "ip": "127.0.0.1", "address": "127.0.0.1",
                           "protocol": "udp", "port": 40000, "type": "host"},
                          {"foundation": "tcpcandidate", "priority": 1_076_276_479, "address": "127.0.0.1",
                           "protocol": "tcp", "port": 40001, "type": "host", "tcpType": "passive"}],
        "dtlsParameters": {"role": "auto", "fingerprints": [{"algorithm": "sha-512", "value": "AA"},
                                                            {"algorithm": "sha-256", "value": "BB"}]},
        "sctpParameters": null
    }))
    .unwrap()
}

#[test]
fn an_offer_becomes_parameters() {
    let offer = Description::parse(OFFER).unwrap();
    assert_eq!(
        serde_json::to_value(&offer.dtls).unwrap(),
        json!({"role": "client", "fingerprints": [{"algorithm": "sha-256", "value": "A6:B4:DD"}]})
    );
    assert_eq!(offer.sections.iter().map(|it| it.kind.as_str()).collect::<Vec<_>>(), ["video", "audio"]);
    let video = serde_json::to_value(&offer.sections[0].rtp).unwrap();
    let expected = json!({
        "mid": "0",
        "codecs": [
            {"mimeType": "video/H264", "payloadType": 96, "clockRate": 90000,
             "parameters": {"level-asymmetry-allowed": 1, "packetization-mode": 1, "profile-level-id": "640028"},
             "rtcpFeedback": [{"type": "nack", "parameter": ""}, {"type": "nack", "parameter": "pli"}]},
            {"mimeType": "video/rtx", "payloadType": 97, "clockRate": 90000, "parameters": {"apt": 96}, "rtcpFeedback": []}
        ],
        "headerExtensions": [{"uri": "urn:ietf:params:rtp-hdrext:sdes:mid", "id": 4}],
        "encodings": [{"ssrc": 3_783_539_764_u32, "rtx": {"ssrc": 12}}],
        "rtcp": {"cname": "harness", "reducedSize": true}
    });
    assert_eq!(video, expected, "a payload type without a description is left out");
    assert_eq!(offer.sections[1].rtp.codecs[0].channels, Some(2));
}

#[test]
fn the_answer_takes_the_offered_sections_in_their_order() {
    let offer = Description::parse(OFFER).unwrap();
    let accepted: Vec<_> = offer.sections.iter().map(|section| section.rtp.clone()).collect();
    let answer = answer(&transport(), &offer.sections, &accepted);
    let expected = [
        "a=ice-lite",
        "a=group:BUNDLE 0 1",
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97",
        "a=fingerprint:sha-256 BB",
        "a=setup:passive",
        "a=recvonly",
        "a=rtcp-fb:96 nack pli",
        "a=candidate:tcpcandidate 1 tcp 1076276479 127.0.0.1 40001 typ host tcptype passive",
        "a=end-of-candidates",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "a=fmtp:111 minptime=10;useinbandfec=1",
    ];
    let mut lines = answer.lines();
    for line in expected {
        assert!(lines.any(|it| it == line), "{line} is missing, or not in its place:\n{answer}");
    }
    assert!(!answer.contains("a=ssrc"), "{answer}");
    assert_eq!(answer.matches("a=candidate").count(), 2, "in the first section only: {answer}");
}

#[test]
fn what_is_offered_to_a_subscriber_reads_as_what_it_was_made_of() {
    let sections = Description::parse(OFFER).unwrap().sections;
    let streams: Vec<_> = sections.iter().map(|it| Stream { kind: it.kind.clone(), rtp: it.rtp.clone() }).collect();
    let sdp = offer(&transport(), &streams);
    assert!(sdp.contains("a=setup:actpass\r\na=sendonly\r\n"), "{sdp}");
    assert_eq!(Description::parse(&sdp).unwrap().sections, sections);
}

#[test]
fn the_answerers_role_is_what_it_says() {
    for (setup, role) in [("passive", "server"), ("active", "client")] {
        let answer = Description::parse(&OFFER.replace("actpass", setup)).unwrap();
        assert_eq!(answer.dtls.role, role);
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let why = |sdp: &str| Description::parse(sdp).unwrap_err();
    assert_eq!(why("v=0\r\n"), "it has no media section");
    assert_eq!(why(&OFFER.replace("a=fingerprint", "a=print")), "it has no a=fingerprint");
    assert!(why(&OFFER.replace("a=ssrc:12 ", "a=ssrc:twelve ")).contains("\"twelve\" is no number"));
    assert!(why(&OFFER.replace("opus/48000/2", "opus")).contains("a=rtpmap:111 opus"));
}
