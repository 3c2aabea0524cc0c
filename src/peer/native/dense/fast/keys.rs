//! The SRTP keys of a connection.
//!
//! The core exports keying material from DTLS (RFC 5764, section 4.2), and keeps it. But it lets its user bring the
//! cryptography, and derives the session keys (RFC 3711, section 4.3.3) through it: for each direction, the one that is
//! sent first, it encrypts blocks with the master key, the first of which is the master salt; then it makes a cipher of
//! what came out. A provider that looks on while it passes the calls on therefore sees the master keys and salts, and
//! from the cipher that they are those of AEAD_AES_128_GCM. Nothing else in the core encrypts single blocks.
//!
//! `tests/fast_path.rs` fails if the core begins to do this in another way.

use std::sync::{Arc, Mutex, PoisonError};

use rtc::crypto::{
    ActiveKeyExchange, AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, CbcAlgorithm, CbcCipher, CryptoAlgorithm,
    CryptoError, HashAlgorithm, HmacAlgorithm, KeyExchangeAlgorithm, Mac, PublicKey, RTCCrypto, RTCCryptoProvider,
    RTCRandom, SecretVec, SignatureScheme, SigningKey, StreamCipher, StreamCipherAlgorithm, constant_time_eq,
};

/// The labels of the SRTP session key and salt (RFC 3711, section 4.3.2).
const LABEL_KEY: u8 = 0;
const LABEL_SALT: u8 = 2;

/// The SRTP session key and salt of one direction (RFC 3711, section 4.3.1). It has no `Debug`, so that it cannot get
/// into a log.
pub struct SessionKey {
    pub(super) key: SecretVec,
    pub(super) salt: [u8; 12],
}

impl SessionKey {
    /// Derives them from the master key and salt with AES-CM, as RFC 7714, section 11 has it for AEAD_AES_128_GCM.
    ///
    /// # Errors
    ///
    /// The provider cannot do AES-128, or the key is not 16 bytes long.
    pub fn derive(crypto: &dyn RTCCrypto, master_key: &[u8], master_salt: &[u8; 12]) -> Result<Self, CryptoError> {
        let block = |label: u8| {
            let mut block = [0; 16];
            block[..12].copy_from_slice(master_salt);
            block[7] ^= label;
            crypto.block_encrypt(BlockCipherAlgorithm::Aes128, master_key, &mut block).map(|()| block)
        };
        let mut salt = [0; 12];
        salt.copy_from_slice(&block(LABEL_SALT)?[..12]);
        Ok(Self { key: SecretVec::new(block(LABEL_KEY)?.to_vec()), salt })
    }
}

/// The keys of both directions of a connection.
pub struct ConnectionKeys {
    /// Of what is sent.
    pub local: SessionKey,
    /// Of what is received.
    pub remote: SessionKey,
}

/// Where the keys of one connection will be once its DTLS handshake is over.
#[derive(Clone, Default)]
pub struct KeyShelf(Arc<Mutex<Shelf>>);

#[derive(Default)]
struct Shelf {
    /// The master key and salt that came last, until it is known what for.
    candidate: Option<(SecretVec, [u8; 12])>,
    /// What is sent, then what is received.
    keys: Vec<SessionKey>,
}

impl KeyShelf {
    /// Takes the keys; `None` before the handshake is over, and if AEAD_AES_128_GCM was not negotiated.
    pub fn take(&self) -> Option<ConnectionKeys> {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let remote = if shelf.keys.len() == 2 { shelf.keys.pop() } else { None }?;
        let local = shelf.keys.pop()?;
        shelf.candidate = None;
        Some(ConnectionKeys { local, remote })
    }

    fn block(&self, key: &[u8], block: &[u8]) {
        let Ok(block) = <&[u8; 16]>::try_from(block) else { return };
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = shelf.candidate.as_ref().is_some_and(|(known, _)| constant_time_eq(known.as_ref(), key));
        if !known && key.len() == 16 {
            let mut salt = [0; 12];
            salt.copy_from_slice(&block[..12]);
            shelf.candidate = Some((SecretVec::new(key.to_vec()), salt));
        }
    }

    fn cipher(&self, crypto: &dyn RTCCrypto, key: &[u8]) {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let derived =
            shelf.candidate.as_ref().and_then(|(key, salt)| SessionKey::derive(crypto, key.as_ref(), salt).ok());
        if let Some(derived) = derived.filter(|derived| constant_time_eq(derived.key.as_ref(), key)) {
            shelf.keys.push(derived);
        }
    }
}

/// The cryptography of one connection, which puts its SRTP keys on a shelf.
pub struct KeyWatch {
    inner: Arc<dyn RTCCryptoProvider>,
    shelf: KeyShelf,
}

impl KeyWatch {
    /// Passes everything on to `inner`. One is needed for each connection.
    pub fn new(inner: Arc<dyn RTCCryptoProvider>, shelf: KeyShelf) -> Self {
        Self { inner, shelf }
    }
}

impl RTCCryptoProvider for KeyWatch {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn crypto(&self) -> &dyn RTCCrypto {
        self
    }

    fn random(&self) -> &dyn RTCRandom {
        self.inner.random()
    }
}

impl RTCCrypto for KeyWatch {
    fn supports(&self, algorithm: CryptoAlgorithm) -> bool {
        self.inner.crypto().supports(algorithm)
    }

    fn hash(&self, algorithm: HashAlgorithm, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.inner.crypto().hash(algorithm, data)
    }

    fn block_encrypt(&self, algorithm: BlockCipherAlgorithm, key: &[u8], block: &mut [u8]) -> Result<(), CryptoError> {
        if algorithm == BlockCipherAlgorithm::Aes128 {
            self.shelf.block(key, block);
        }
        self.inner.crypto().block_encrypt(algorithm, key, block)
    }

    fn new_hmac(&self, algorithm: HmacAlgorithm, key: &[u8]) -> Result<Box<dyn Mac>, CryptoError> {
        self.inner.crypto().new_hmac(algorithm, key)
    }

    fn new_stream_cipher(
        &self,
        algorithm: StreamCipherAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn StreamCipher>, CryptoError> {
        self.inner.crypto().new_stream_cipher(algorithm, key)
    }

    fn new_aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Box<dyn AeadCipher>, CryptoError> {
        if algorithm == AeadAlgorithm::Aes128Gcm {
            self.shelf.cipher(self.inner.crypto(), key);
        }
        self.inner.crypto().new_aead(algorithm, key)
    }

    fn new_cbc(&self, algorithm: CbcAlgorithm, key: &[u8]) -> Result<Box<dyn CbcCipher>, CryptoError> {
        self.inner.crypto().new_cbc(algorithm, key)
    }

    fn start_key_exchange(&self, algorithm: KeyExchangeAlgorithm) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        self.inner.crypto().start_key_exchange(algorithm)
    }

    fn generate_signing_key(&self, scheme: SignatureScheme) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.inner.crypto().generate_signing_key(scheme)
    }

    fn import_signing_key(&self, scheme: SignatureScheme, pkcs8: &[u8]) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.inner.crypto().import_signing_key(scheme, pkcs8)
    }

    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        public_key: PublicKey<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.inner.crypto().verify_signature(scheme, public_key, message, signature)
    }
}

#[cfg(test)]
mod tests {
    use rtc::srtp::context::Context;
    use rtc::srtp::protection_profile::ProtectionProfile;

    use super::super::srtp::{Cipher, ReceiveIndex};
    use super::*;

    fn context(watch: &KeyWatch, profile: ProtectionProfile, byte: u8) -> Context {
        let (key, salt) = (vec![byte; profile.key_len()], vec![byte; profile.salt_len()]);
        Context::new(&key, &salt, profile, None, None, watch).unwrap()
    }

    fn watch() -> (KeyWatch, KeyShelf) {
        let shelf = KeyShelf::default();
        (KeyWatch::new(rtc::crypto::default_provider().unwrap(), shelf.clone()), shelf)
    }

    #[test]
    fn the_keys_of_both_directions_are_those_of_the_contexts() {
        let (watch, shelf) = watch();
        let mut contexts = [1, 2].map(|byte| {
            assert!(shelf.take().is_none());
            context(&watch, ProtectionProfile::AeadAes128Gcm, byte)
        });
        let keys = shelf.take().unwrap();
        assert!(shelf.take().is_none());
        for (key, context) in [keys.local, keys.remote].iter().zip(&mut contexts) {
            let mut sealed = context.encrypt_rtp(&[0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7, 42]).unwrap();
            let opened = ReceiveIndex::default().open(&Cipher::new(key), 7, 1, 12, &mut sealed).unwrap().to_vec();
            assert_eq!(opened, [42]);
        }
    }

    #[test]
    fn keys_of_another_profile_are_not_taken_for_those_of_gcm() {
        for profile in [ProtectionProfile::Aes128CmHmacSha1_80, ProtectionProfile::AeadAes256Gcm] {
            let (watch, shelf) = watch();
            context(&watch, profile, 1);
            context(&watch, profile, 2);
            assert!(shelf.take().is_none());
        }
    }
}
