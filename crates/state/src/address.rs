//! `ip` ACL patterns: an IPv4 or IPv6 address with an optional prefix length. Source: `IPAuthenticationProvider`.

/// Returns whether `pattern` is valid in an ACL.
pub(crate) fn is_address_pattern(pattern: &str) -> bool {
    parse_pattern(pattern).is_some()
}

/// Returns whether the address `id` lies within `pattern`.
pub(crate) fn address_matches(id: &str, pattern: &str) -> bool {
    let (Some((wanted, bits)), Some(actual)) = (parse_pattern(pattern), parse_address(id)) else { return false };
    wanted.len() == actual.len() && masked(&wanted, bits) == masked(&actual, bits)
}

fn parse_pattern(pattern: &str) -> Option<(Vec<u8>, usize)> {
    let (address, bits) = match pattern.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (pattern, None),
    };
    let address = parse_address(address)?;
    let bits = match bits {
        None => address.len() * 8,
        Some(bits) => usize::try_from(bits.parse::<i32>().ok()?).ok().filter(|&bits| bits <= address.len() * 8)?,
    };
    Some((address, bits))
}

fn parse_address(text: &str) -> Option<Vec<u8>> {
    if text.contains(':') { parse_v6(text) } else { parse_v4(text) }
}

// ZooKeeper: accepts a dotted quad of plain integers, with leading zeros and signs as Java's parseInt takes
// them.
fn parse_v4(text: &str) -> Option<Vec<u8>> {
    let bytes: Option<Vec<u8>> = text.split('.').map(|part| u8::try_from(part.parse::<i32>().ok()?).ok()).collect();
    bytes.filter(|bytes| bytes.len() == 4)
}

// ZooKeeper: accepts groups of hexadecimal digits only and refuses an IPv4 tail.
fn parse_v6(text: &str) -> Option<Vec<u8>> {
    if text.contains('.') {
        return None;
    }
    text.parse::<std::net::Ipv6Addr>().ok().map(|address| address.octets().to_vec())
}

fn masked(address: &[u8], bits: usize) -> Vec<u8> {
    let mask = |index: usize| match bits.saturating_sub(index * 8) {
        0 => 0,
        kept @ 1..8 => 0xffu8 << (8 - kept),
        _ => 0xff,
    };
    address.iter().enumerate().map(|(index, byte)| byte & mask(index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |id, pattern, expected| assert_eq!(address_matches(id, pattern), expected, "{id} {pattern}");
        check("127.0.0.1", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.2", false);
        check("10.1.2.3", "10.0.0.0/8", true);
        check("10.1.2.3", "10.2.0.0/15", false);
        check("10.3.2.3", "10.2.0.0/15", true);
        check("10.1.2.3", "0.0.0.0/0", true);
        check("0:0:0:0:0:0:0:1", "::1", true);
        check("0:0:0:0:0:0:0:1", "127.0.0.1", false);
        check("fe80:0:0:0:0:0:0:1", "fe80::/10", true);
        for bad in ["", "1.2.3", "1.2.3.4/33", "1.2.3.4/x", "1.2.3.256", "::1/129", "::ffff:1.2.3.4", "localhost"] {
            assert!(!is_address_pattern(bad), "{bad}");
        }
    }
}
