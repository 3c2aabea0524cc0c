//! ChannelData: four bytes instead of an indication (RFC 8656, section 12.4).

use std::ops::RangeInclusive;

/// The numbers a channel may have: those of RFC 5766. RFC 8656 has but the first quarter of them, and coturn's client
/// uses them all.
pub const CHANNEL_NUMBERS: RangeInclusive<u16> = 0x4000..=0x7FFE;

const HEADER_BYTES: usize = 4;

/// The number and the data of a ChannelData message. What follows the data is its padding.
pub fn parse_channel_data(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
    let number = u16::from_be_bytes([header[0], header[1]]);
    let data = rest.get(..usize::from(u16::from_be_bytes([header[2], header[3]])))?;
    CHANNEL_NUMBERS.contains(&number).then_some((number, data))
}

/// A ChannelData message, padded to a multiple of four where it goes into a stream (section 12.5). `None` for more data
/// than it can hold.
pub fn channel_data(number: u16, data: &[u8], padded: bool) -> Option<Vec<u8>> {
    let length = u16::try_from(data.len()).ok()?;
    let mut bytes = Vec::with_capacity((HEADER_BYTES + data.len()).next_multiple_of(4));
    bytes.extend(number.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(data);
    if padded {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    Some(bytes)
}
