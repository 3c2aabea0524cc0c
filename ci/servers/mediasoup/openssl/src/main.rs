//! Builds OpenSSL's static libraries into the folder that it is given.
fn main() {
    let folder = std::env::args().nth(1).expect("usage: openssl-of-mediasoup FOLDER");
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    openssl_src::Build::new().host(&target).target(&target).out_dir(folder).build();
}
