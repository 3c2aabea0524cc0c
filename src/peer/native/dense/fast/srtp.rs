//! SRTP with AEAD_AES_128_GCM (RFC 7714), in place and without an allocation per packet.
//!
//! Other profiles stay with the core: every peer whose packets go this way offers AEAD_AES_128_GCM and nothing else.

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::keys::SessionKey;

/// How much longer a packet becomes: the authentication tag (RFC 7714, section 12).
pub const TAG: usize = 16;

/// Packets this far behind the newest one can still be told from repetitions. RFC 3711, 3.3.2 wants 64 at least; this is
/// as far back as a sender can send again.
const WINDOW: u64 = 1024;

/// Why a packet cannot be opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SrtpError {
    /// It is shorter than its header and the tag.
    #[error("the packet is too short")]
    Short,
    /// It was opened before, or is too old to tell.
    #[error("the packet was received before, or is too old")]
    Replayed,
    /// It was not sealed with this key, or was changed on its way.
    #[error("the packet is not authentic")]
    NotAuthentic,
}

/// The session key and salt of one direction of a connection (RFC 3711, section 4.3).
pub struct Cipher {
    key: LessSafeKey,
    salt: [u8; 12],
}

impl Cipher {
    /// Of a key that was derived for AEAD_AES_128_GCM.
    pub fn new(session: &SessionKey) -> Self {
        let key = UnboundKey::new(&AES_128_GCM, session.key.as_ref()).expect("a block of AES-128 is 16 bytes");
        Self { key: LessSafeKey::new(key), salt: session.salt }
    }

    /// Seals a packet: header, payload, and [`TAG`] bytes of room at the end.
    ///
    /// `index` is the packet's 48-bit index (RFC 3711, section 3.3.1), which is never used for two packets; the same
    /// packet sealed twice is the same bytes.
    pub fn seal(&self, ssrc: u32, index: u64, header_len: usize, packet: &mut [u8]) {
        let end = packet.len() - TAG;
        let (sealed, tag) = packet.split_at_mut(end);
        let (header, payload) = sealed.split_at_mut(header_len);
        let made = self.key.seal_in_place_separate_tag(self.nonce(ssrc, index), Aad::from(header), payload);
        // Fails for payloads of more than 2^36 bytes only.
        tag.copy_from_slice(made.expect("a datagram is not that long").as_ref());
    }

    /// Opens a packet, and gives its payload.
    fn open<'a>(
        &self,
        ssrc: u32,
        index: u64,
        header_len: usize,
        packet: &'a mut [u8],
    ) -> Result<&'a mut [u8], SrtpError> {
        if packet.len() < header_len + TAG {
            return Err(SrtpError::Short);
        }
        let (header, payload) = packet.split_at_mut(header_len);
        self.key.open_in_place(self.nonce(ssrc, index), Aad::from(header), payload).map_err(|_| SrtpError::NotAuthentic)
    }

    /// RFC 7714, section 8.1.
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut nonce = [0; 12];
        nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
        nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
        for (byte, salt) in nonce.iter_mut().zip(self.salt) {
            *byte ^= salt;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

/// The indices of the packets of one stream that are sent.
#[derive(Clone, Debug, Default)]
pub struct SendIndex(Option<u64>);

impl SendIndex {
    /// The index of the next packet, whose sequence number follows that of the one before.
    pub fn next(&mut self, sequence_number: u16) -> u64 {
        let index = self.0.map_or_else(|| u64::from(sequence_number), |last| estimate(last, sequence_number));
        self.0 = Some(index);
        index
    }
}

/// The indices of the packets of one stream that are received, and which of them were received already.
#[derive(Clone, Debug)]
pub struct ReceiveIndex {
    /// Of the newest packet.
    highest: Option<u64>,
    seen: [u64; (WINDOW / 64) as usize],
}

impl Default for ReceiveIndex {
    fn default() -> Self {
        Self { highest: None, seen: [0; (WINDOW / 64) as usize] }
    }
}

impl ReceiveIndex {
    /// Opens a packet of this stream, and gives its payload; the packet's bytes are lost if that fails.
    ///
    /// # Errors
    ///
    /// The packet is a repetition, or not authentic.
    pub fn open<'a>(
        &mut self,
        cipher: &Cipher,
        ssrc: u32,
        sequence_number: u16,
        header_len: usize,
        packet: &'a mut [u8],
    ) -> Result<&'a mut [u8], SrtpError> {
        let index = self.index_of(sequence_number);
        if self.is_seen(index) {
            return Err(SrtpError::Replayed);
        }
        let payload = cipher.open(ssrc, index, header_len, packet)?;
        self.note(index);
        Ok(payload)
    }

    /// Takes note of a packet of this stream that somebody else has opened, so that the roll-over of the sequence number is
    /// not missed, and the packet not taken twice.
    pub fn passed(&mut self, sequence_number: u16) {
        let index = self.index_of(sequence_number);
        if !self.is_seen(index) {
            self.note(index);
        }
    }

    fn index_of(&self, sequence_number: u16) -> u64 {
        self.highest.map_or_else(|| u64::from(sequence_number), |highest| estimate(highest, sequence_number))
    }

    fn is_seen(&self, index: u64) -> bool {
        match self.highest {
            Some(highest) if index + WINDOW <= highest => true,
            Some(highest) if index <= highest => self.seen[Self::word(index)] & Self::bit(index) != 0,
            _ => false,
        }
    }

    /// Takes note of a packet that was authentic: nothing else may move the window (RFC 3711, section 3.3.2).
    fn note(&mut self, index: u64) {
        let highest = *self.highest.get_or_insert(index);
        if index > highest + WINDOW {
            self.seen.fill(0);
        } else {
            (highest + 1..=index).for_each(|passed| self.seen[Self::word(passed)] &= !Self::bit(passed));
        }
        self.highest = Some(highest.max(index));
        self.seen[Self::word(index)] |= Self::bit(index);
    }

    fn word(index: u64) -> usize {
        (index % WINDOW / 64) as usize
    }

    fn bit(index: u64) -> u64 {
        1 << (index % 64)
    }
}

/// The index with this sequence number that is nearest to the highest one (RFC 3711, section 3.3.1).
fn estimate(highest: u64, sequence_number: u16) -> u64 {
    let ahead = sequence_number.wrapping_sub(highest as u16) as i16;
    match highest.checked_add_signed(i64::from(ahead)) {
        Some(index) => index,
        // Before the first packet of all, there is only the roll-over to come.
        None => u64::from(sequence_number),
    }
}

#[cfg(test)]
mod tests {
    use rtc::crypto::SecretVec;
    use rtc::srtp::context::Context;
    use rtc::srtp::protection_profile::ProtectionProfile;

    use super::*;

    const KEY: [u8; 16] = *b"a key of 16 byte";
    const SALT: [u8; 12] = *b"and its salt";

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        let digits: Vec<_> = hexadecimal.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    fn cipher() -> Cipher {
        let provider = rtc::crypto::default_provider().unwrap();
        Cipher::new(&SessionKey::derive(provider.crypto(), &KEY, &SALT).unwrap())
    }

    fn core() -> Context {
        let provider = rtc::crypto::default_provider().unwrap();
        Context::new(&KEY, &SALT, ProtectionProfile::AeadAes128Gcm, None, None, provider.crypto()).unwrap()
    }

    fn packet(sequence_number: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80, 96];
        packet.extend(sequence_number.to_be_bytes());
        packet.extend([0, 0, 0, 1, 0, 0, 0, 7]);
        packet.extend(payload);
        packet
    }

    #[test]
    fn a_packet_is_sealed_as_in_the_example_of_the_rfc() {
        // RFC 7714, section 16.1.1; the keys there are session keys.
        let session = SessionKey {
            key: SecretVec::new(bytes("000102030405060708090a0b0c0d0e0f")),
            salt: bytes("517569642070726f2071756f").try_into().unwrap(),
        };
        let plain = bytes(
            "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573",
        );
        let expected = bytes(
            "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf
             8833899d 7f27beb1 6a9152cf 765ee439 0cce",
        );
        let cipher = Cipher::new(&session);
        let mut sealed = plain.clone();
        sealed.resize(plain.len() + TAG, 0);
        cipher.seal(0x5501_a0b2, 0xf17b, 12, &mut sealed);
        assert_eq!(sealed, expected);
        let opened = ReceiveIndex::default().open(&cipher, 0x5501_a0b2, 0xf17b, 12, &mut sealed).unwrap().to_vec();
        assert_eq!(opened, plain[12..]);
    }

    #[test]
    fn the_core_opens_what_is_sealed_here_and_the_other_way_round_across_the_roll_over() {
        let cipher = cipher();
        let (mut sealing, mut opening) = (core(), core());
        let (mut sent, mut received) = (SendIndex::default(), ReceiveIndex::default());
        for number in 65_500..65_600u32 {
            let plain = packet(number as u16, &[number as u8; 90]);
            let mut ours = plain.clone();
            ours.resize(plain.len() + TAG, 0);
            cipher.seal(7, sent.next(number as u16), 12, &mut ours);
            assert_eq!(opening.decrypt_rtp(&ours).unwrap(), plain);
            let mut theirs = sealing.encrypt_rtp(&plain).unwrap();
            assert_eq!(theirs, ours);
            let opened = received.open(&cipher, 7, number as u16, 12, &mut theirs).unwrap();
            assert_eq!(opened, [number as u8; 90]);
        }
    }

    #[test]
    fn what_is_repeated_old_changed_or_short_is_refused() {
        let cipher = cipher();
        let sealed = |index: u64| {
            let mut packet = packet(index as u16, &[9; 20]);
            packet.resize(packet.len() + TAG, 0);
            cipher.seal(7, index, 12, &mut packet);
            packet
        };
        let mut received = ReceiveIndex::default();
        let mut open =
            |index: u64| received.open(&cipher, 7, index as u16, 12, &mut sealed(index)).map(|payload| payload.len());
        assert_eq!(open(65_000), Ok(20));
        assert_eq!(open(66_000), Ok(20), "past the roll-over");
        assert_eq!(open(65_990), Ok(20), "late");
        assert_eq!(open(65_990), Err(SrtpError::Replayed));
        assert_eq!(open(65_000), Err(SrtpError::Replayed));
        assert_eq!(open(66_000 - WINDOW), Err(SrtpError::Replayed), "too old to tell");
        assert_eq!(open(66_001 - WINDOW), Ok(20));

        let mut changed = sealed(66_001);
        changed[2] ^= 1;
        assert_eq!(received.open(&cipher, 7, 66_257u32 as u16, 12, &mut changed), Err(SrtpError::NotAuthentic));
        let mut changed = sealed(66_001);
        changed[30] ^= 1;
        assert_eq!(received.open(&cipher, 7, 66_001u32 as u16, 12, &mut changed), Err(SrtpError::NotAuthentic));
        assert_eq!(received.open(&cipher, 7, 66_001u32 as u16, 12, &mut [0; 27]), Err(SrtpError::Short));
        assert_eq!(received.open(&cipher, 7, 66_001u32 as u16, 12, &mut sealed(66_001)).unwrap(), [9; 20]);
    }

    #[test]
    fn an_index_is_the_nearest_one() {
        assert_eq!(estimate(5, 65_535), 65_535, "nothing precedes the first roll-over");
        assert_eq!(estimate(0x1_0005, 65_535), 0xffff);
        assert_eq!(estimate(0xffff, 3), 0x1_0003);
        assert_eq!(estimate(0x2_8000, 0x8001), 0x2_8001);
    }
}
