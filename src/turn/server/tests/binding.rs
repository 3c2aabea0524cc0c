use super::*;

fn bind(lab: &mut Lab, client: Client, add: impl FnOnce(&mut Builder)) -> (Client, Reply) {
    let mut builder = Builder::new(Class::Request, Method::BINDING, TransactionId([1; 12]));
    add(&mut builder);
    let outputs = lab.send(client, &builder.finish());
    let [Output::ToClient { client, data }] = &outputs[..] else { panic!("{outputs:?}") };
    (*client, Reply(data.to_vec()))
}

fn client(local: &str) -> Client {
    Client { transport: ClientTransport::Udp, remote: at("192.0.2.1:5000"), local: at(local) }
}

#[test]
fn a_client_is_told_its_address() {
    let (path, reply) = bind(&mut Lab::new(), client(SERVER), |_| {});
    assert_eq!(path, client(SERVER));
    for address in
        [reply.message().xor_address(Attribute::XOR_MAPPED_ADDRESS), reply.message().address(Attribute::MAPPED_ADDRESS)]
    {
        assert_eq!(address, Some(at("192.0.2.1:5000")));
    }
    assert!(!reply.message().has_fingerprint());
}

#[test]
fn a_fingerprint_is_answered_with_one() {
    let (_, reply) = bind(&mut Lab::new(), client(SERVER), |builder| {
        builder.fingerprint();
    });
    assert!(reply.message().has_fingerprint());
}

#[test]
fn the_answer_comes_from_where_the_client_wants_it() {
    let mut lab = Lab::new();
    for (flags, local, origin) in [
        (0, "11.0.0.1:3478", "11.0.0.1:3478"),
        (2, "11.0.0.1:3478", "11.0.0.1:3479"),
        (4, "11.0.0.1:3478", "11.0.0.2:3478"),
        (6, "11.0.0.1:3478", "11.0.0.2:3479"),
        (6, "11.0.0.2:3479", "11.0.0.1:3478"),
    ] {
        let (path, reply) = bind(&mut lab, client(local), |builder| {
            builder.number(Attribute::CHANGE_REQUEST, flags);
        });
        assert_eq!(path, client(origin), "{flags} at {local}");
        assert_eq!(reply.message().address(Attribute::RESPONSE_ORIGIN), Some(at(origin)));
        let other = if local == "11.0.0.1:3478" { "11.0.0.2:3479" } else { "11.0.0.1:3478" };
        assert_eq!(reply.message().address(Attribute::OTHER_ADDRESS), Some(at(other)));
    }
}

#[test]
fn a_server_with_one_address_says_that_it_has_no_other() {
    let mut config = config();
    config.listeners = vec![at(SERVER)];
    let mut lab = Lab::with(config);
    let (_, reply) = bind(&mut lab, client(SERVER), |_| {});
    assert_eq!(reply.message().get(Attribute::OTHER_ADDRESS), None);
    let (_, reply) = bind(&mut lab, client(SERVER), |builder| {
        builder.number(Attribute::CHANGE_REQUEST, 6);
    });
    assert_eq!(reply.code(), 420);
    assert_eq!(reply.message().get(Attribute::UNKNOWN_ATTRIBUTES), Some(&[0, 3][..]));
}

#[test]
fn the_answer_goes_to_another_port_of_the_same_client() {
    let mut lab = Lab::new();
    let (path, reply) = bind(&mut lab, client(SERVER), |builder| {
        builder.bytes(Attribute::RESPONSE_PORT, &[0x1F, 0x90, 0, 0]);
    });
    assert_eq!(path.remote, at("192.0.2.1:8080"));
    assert_eq!(reply.message().xor_address(Attribute::XOR_MAPPED_ADDRESS), Some(at("192.0.2.1:5000")));
    let (_, reply) = bind(&mut lab, client(SERVER), |builder| {
        builder.bytes(Attribute::RESPONSE_PORT, &[0x1F, 0x90, 0, 0]).bytes(Attribute::PADDING, &[0; 4]);
    });
    assert_eq!(reply.code(), 400);
}

#[test]
fn padding_is_answered_with_padding_and_never_with_more() {
    let mut lab = Lab::new();
    for length in [0, 4, 40, 61, 1500] {
        let (_, reply) = bind(&mut lab, client(SERVER), |builder| {
            builder.bytes(Attribute::PADDING, &vec![0; length]).fingerprint();
        });
        let bare = 20 + 4 * 12 + 4 + 8;
        assert!(reply.0.len() <= (20 + 4 + length.next_multiple_of(4) + 8).max(bare), "{} for {length}", reply.0.len());
        assert!(reply.message().get(Attribute::PADDING).is_some());
    }
}

#[test]
fn a_stream_has_one_path_only() {
    let mut lab = Lab::new();
    let client = Client { transport: ClientTransport::Tcp, ..client(SERVER) };
    let (_, reply) = bind(&mut lab, client, |_| {});
    assert_eq!(reply.message().xor_address(Attribute::XOR_MAPPED_ADDRESS), Some(at("192.0.2.1:5000")));
    assert_eq!(reply.message().get(Attribute::OTHER_ADDRESS), None);
    let (_, reply) = bind(&mut lab, client, |builder| {
        builder.number(Attribute::CHANGE_REQUEST, 2);
    });
    assert_eq!(reply.code(), 420);
}
