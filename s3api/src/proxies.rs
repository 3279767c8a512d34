//! Which proxies are believed when they say from whom a request comes.
//!
//! Invariants: nothing that a request says of itself is believed unless its connection comes from an address
//! that the operator trusts. Of `X-Forwarded-For` the last address that is not a trusted proxy's
//! counts: what stands before it is what that client said of itself. Behind an entry that is no address
//! nothing more is believed.
//!
//! Not here: the PROXY protocol, and `Forwarded` (RFC 7239), which few proxies send.

use http::{Peer, RequestHead};
use std::net::{IpAddr, SocketAddr};

use crate::access::network::Network;

/// The operator's proxies. None of them: every request comes from where its connection does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<Network>);

impl Proxies {
    pub fn new(networks: Vec<Network>) -> Self {
        Self(networks)
    }

    /// The networks, as they are written.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(Network::to_string).collect()
    }

    /// Whom a request comes from that came over a connection of `peer`; none: from `peer`.
    pub fn client(&self, peer: Peer, head: &RequestHead) -> Option<Peer> {
        let proxy = peer.address.filter(|address| self.trusts(*address))?;
        let address = self.forwarded_for(head).unwrap_or(proxy);
        let is_secure = match head.header_values("x-forwarded-proto").last() {
            // A list, where each of several proxies added what it saw: the nearest counts.
            Some(value) => last_of_list(value).eq_ignore_ascii_case(b"https"),
            None => peer.is_secure,
        };
        Some(Peer { address: Some(address), proxy: Some(proxy), is_secure })
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The last address that no trusted proxy has, or the first of all.
    fn forwarded_for(&self, head: &RequestHead) -> Option<IpAddr> {
        let values: Vec<&[u8]> = head.header_values("x-forwarded-for").collect();
        let entries = values.iter().rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
        let mut found = None;
        for entry in entries {
            let Some(address) = address(entry) else { break };
            found = Some(address);
            if !self.trusts(address) {
                break;
            }
        }
        found
    }
}

fn last_of_list(value: &[u8]) -> &[u8] {
    value.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii()
}

/// An address, as proxies write it: with a port or without, of IPv6 with brackets or without.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    address.or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// What a server behind 10.0.0.0/8 and fd00::/8 makes of a request: address and security.
    fn seen(from: &str, headers: &str) -> Option<(String, bool)> {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|text| Network::parse(text).unwrap());
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        let head = RequestHead::parse(head.as_bytes()).unwrap();
        let address: IpAddr = from.parse().unwrap();
        let peer = Peer { address: Some(address), ..Peer::default() };
        let client = Proxies::new(networks.to_vec()).client(peer, &head)?;
        assert_eq!(client.proxy, Some(address));
        Some((client.address.unwrap().to_string(), client.is_secure))
    }

    #[track_caller]
    fn check(headers: &str, address: &str, is_secure: bool) {
        assert_eq!(seen("10.1.1.1", headers), Some((address.to_owned(), is_secure)), "{headers}");
    }

    #[test]
    fn whoever_is_no_trusted_proxy_speaks_for_nobody() {
        let headers = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n";
        assert_eq!(seen("192.0.2.9", headers), None);
        assert_eq!(seen("::1", headers), None);
    }

    #[test]
    fn the_last_address_that_is_no_proxys_counts() {
        check("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1", false);
        // What the client itself sent stands before it.
        check("X-Forwarded-For: 203.0.113.1, 192.0.2.1\r\n", "192.0.2.1", false);
        check("X-Forwarded-For: 203.0.113.1, 192.0.2.1,10.2.2.2\r\n", "192.0.2.1", false);
        check(
            "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: fd00::1, 10.2.2.2\r\n",
            "192.0.2.1",
            false,
        );
        // Proxies alone: the first of them asked for itself.
        check("X-Forwarded-For: 10.3.3.3, 10.2.2.2\r\n", "10.3.3.3", false);
        check("", "10.1.1.1", false);
    }

    #[test]
    fn addresses_come_with_ports_and_brackets() {
        check("X-Forwarded-For: 192.0.2.1:50000\r\n", "192.0.2.1", false);
        check("X-Forwarded-For: [2001:db8::1]:50000\r\n", "2001:db8::1", false);
        check("X-Forwarded-For: [2001:db8::1]\r\n", "2001:db8::1", false);
        check("X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1", false);
        check("X-Forwarded-For: ::ffff:192.0.2.1\r\n", "192.0.2.1", false);
    }

    #[test]
    fn behind_what_is_no_address_nothing_is_believed() {
        for junk in ["unknown", "", "192.0.2.1.1", "evil\"", "192.0.2.1;1", "\u{fc}"] {
            check(&format!("X-Forwarded-For: 192.0.2.1, {junk}\r\n"), "10.1.1.1", false);
            check(&format!("X-Forwarded-For: 192.0.2.1, {junk}, 10.2.2.2\r\n"), "10.2.2.2", false);
        }
    }

    #[test]
    fn the_proxy_says_whether_its_client_was_secure() {
        check("X-Forwarded-Proto: https\r\n", "10.1.1.1", true);
        check("X-Forwarded-Proto: HTTPS\r\n", "10.1.1.1", true);
        check("X-Forwarded-Proto: http\r\n", "10.1.1.1", false);
        check("X-Forwarded-Proto: https, http\r\n", "10.1.1.1", false);
        check("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", "10.1.1.1", false);
    }
}
