//! The Internet checksum (RFC 1071).

/// A sum of 16-bit words in ones' complement, with the carries still to be folded in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds data that begins at an even offset. An odd last byte counts as if a zero followed.
    #[must_use]
    pub fn with(self, data: &[u8]) -> Self {
        // The order of bytes does not matter to the sum until it is folded (RFC 1071, 2), and four
        // independent sums keep a processor busy.
        let mut lanes = [self.0, 0, 0, 0];
        let (blocks, rest) = data.as_chunks::<32>();
        for block in blocks {
            let (words, _) = block.as_chunks::<8>();
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane = add(*lane, u64::from_ne_bytes(*word));
            }
        }
        let mut sum = lanes.into_iter().fold(0, add);
        let (words, rest) = rest.as_chunks::<8>();
        for word in words {
            sum = add(sum, u64::from_ne_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        Self(add(sum, u64::from_ne_bytes(last)))
    }

    /// Adds the pseudo header of TCP or UDP over IPv4: two addresses, and these.
    #[must_use]
    pub fn with_pseudo_header(self, addresses: &[u8], protocol: u8, length: u16) -> Self {
        let [high, low] = length.to_be_bytes();
        self.with(addresses).with(&[0, protocol, high, low])
    }

    /// Returns the sum. The checksum is its complement.
    pub fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        u16::try_from(sum).unwrap_or_default().to_be()
    }

    /// Returns the checksum.
    pub fn checksum(self) -> u16 {
        !self.folded()
    }

    /// Returns whether data was right that contains its checksum.
    pub fn is_right(self) -> bool {
        self.folded() == 0xffff
    }
}

fn add(sum: u64, word: u64) -> u64 {
    let (sum, carry) = sum.overflowing_add(word);
    sum + u64::from(carry)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, word by word.
    fn plain(data: &[u8]) -> u16 {
        let words = data.chunks(2).map(|word| match word {
            [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
            _ => u32::from(word[0]) << 8,
        });
        let mut sum: u32 = words.sum();
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        u16::try_from(sum).unwrap()
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let sum = Sum::default().with(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.folded(), 0xddf2);
    }

    proptest! {
        #[test]
        fn any_data_sums_up_as_defined(data in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(Sum::default().with(&data).folded(), plain(&data));
        }

        #[test]
        fn data_may_come_in_parts(
            data in prop::collection::vec(any::<u8>(), 0..300),
            at in any::<prop::sample::Index>(),
        ) {
            let (one, other) = data.split_at(at.index(data.len() + 1) & !1);
            let sum = Sum::default().with(one).with(other);
            prop_assert_eq!(sum.folded(), plain(&data));
        }
    }
}
