//! The state oracle: everything of a host's network that netcord could change, in a form in which
//! equal states are equal text.
//!
//! Left out is what cannot be the same again: indexes, counters, what neighbours were learned, and
//! link-local addresses, which come and go with carrier,
//! the switches that stay on by promise (forwarding, and what the kernel turns with it). A base chain that iptables made and that
//! holds nothing is none.

use std::fmt;

use super::Lab;

/// A host's network, as text.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Snapshot(Vec<String>);

/// Each prints lines that do not depend on order; sorted below.
const HOST: &str = r#"
scope() { sed "s/^/$1 /"; }
look() {
    ip -o -d link | sed -E 's/^[0-9]+: //; s/@if[0-9]+//; s/NO-CARRIER,|,LOWER_UP//g; s/link-netnsid [0-9]+/link-netns/; s/ (qdisc|qlen|state|numtxqueues|numrxqueues|gso_max_size|gso_max_segs|tso_max_size|tso_max_segs|gro_max_size|gso_ipv4_max_size|gro_ipv4_max_size) [^ ]+//g; s/ (hello_timer|tcn_timer|topology_change_timer|gc_timer|topology_change|topology_change_detected|designated_cost|root_cost|message_age_timer|forward_delay_timer|hold_timer) +[0-9.]+//g; s/port_id [^ ]+ port_no [^ ]+//; s/designated_port [^ ]+//' | sort | scope link
    ip -o addr | sed -E 's/^[0-9]+: //; s/valid_lft.*//' | grep -v ' inet6 fe80:' | sort | scope addr
    { ip route show table all; ip -6 route show table all; } | grep -v '^\(local\|multicast\|anycast\|broadcast\)' | grep -v '^fe80:' | sed -E 's/expires [^ ]+//; s/ linkdown//' | sort | scope route
    { ip rule; ip -6 rule; } | sort | scope rule
    for port in $(tc qdisc show | sed -n 's/^qdisc clsact .* dev \([^ ]*\) .*/\1/p'); do tc -d filter show dev $port ingress | scope "filter $port"; done
    ip neigh show nud permanent | sort | scope neigh
    bridge fdb show 2>/dev/null | grep -E 'static|permanent' | grep -v '^33:33:ff' | sort | scope fdb
    # Elements of a map come in any order, rules in theirs. The tables of iptables come below.
    nft list ruleset 2>/dev/null | sed -E 's/counter packets [0-9]+ bytes [0-9]+//' | awk '/^table/ { own = $2 == "inet" } own' | sed -E ':join /,$/ { N; s/,\n[ \t]*/, /; b join }' | awk '/elements = / { gsub(/.*= \{ | \}$/, ""); n = split($0, all, ", "); for (i = 1; i <= n; i++) print name, all[i]; next } /^\t(set|map|chain)/ { name = $1 " " $2 } /[^\t}]/ { print name, ++line[name], $0 }' | sort | scope nft
    for save in iptables-save ip6tables-save; do
        $save 2>/dev/null | sed -E 's/\[[0-9]+:[0-9]+\]//; /^#/d' | awk '/^\*/ { table = $0; next } /^COMMIT/ { next } /^:/ && / ACCEPT/ { next } { print table, $0 }' | scope $save
    done
}
look
(cd /proc/sys/net && find . -type f -readable ! -name ip_forward ! -name forwarding ! -path './ipv4/conf/all/accept_redirects' ! -name mc_forwarding ! -name flush ! -path '*/netfilter/*' ! -path './core/*' ! -path '*/stable_secret' -exec grep -H . {} + 2>/dev/null) | sort | scope sysctl
ls -l /run/netns 2>/dev/null | awk 'NR > 1 { print $1, $9, $10, $11 }' | scope name
find /run/netcord -name '*.json' 2>/dev/null | sort | scope record
for name in $(ls /run/netns 2>/dev/null); do
    nsenter --net=/run/netns/$name sh -c "$(cat <<'INNER'
ip -o link | sed -E 's/^[0-9]+: //; s/@if[0-9]+//; s/link-netnsid [0-9]+//; s/NO-CARRIER,|,LOWER_UP//g; s/ (qdisc|qlen|state) [^ ]+//g'
ip -o addr | sed -E 's/^[0-9]+: //; s/ tentative//; s/valid_lft.*//'
ip route show table main; ip -6 route show table main
INNER
)" 2>/dev/null | sort | scope "in $name"
done
"#;

impl Snapshot {
    #[track_caller]
    pub(super) fn of(lab: &Lab) -> Self {
        let output = lab.command("sh").args(["-c", HOST]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains("sysctl "),
            "the snapshot is empty: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self(text.lines().map(|l| l.trim_end().to_owned()).collect())
    }

    /// The lines of one part, for a look.
    pub(crate) fn part(&self, scope: &str) -> Vec<&str> {
        self.0.iter().map(String::as_str).filter(|l| l.starts_with(scope)).collect()
    }

    /// Without what a later one may differ in.
    pub(crate) fn without(&self, is_left_out: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|l| !is_left_out(l)).cloned().collect())
    }

    /// With each line changed, as where a name cannot be the same.
    pub(crate) fn mapped(&self, change: impl Fn(&str) -> String) -> Self {
        let mut lines: Vec<_> = self.0.iter().map(|l| change(l)).collect();
        lines.sort();
        Self(lines)
    }

    /// Fails, and shows what differs, unless the other is the same.
    #[track_caller]
    pub(crate) fn assert_same(&self, other: &Self, when: &str) {
        if self == other {
            return;
        }
        let missing: Vec<_> =
            self.0.iter().filter(|l| !other.0.contains(l)).map(|l| format!("- {l}")).collect();
        let added: Vec<_> =
            other.0.iter().filter(|l| !self.0.contains(l)).map(|l| format!("+ {l}")).collect();
        panic!("{when}: the host is not the same\n{}\n{}", missing.join("\n"), added.join("\n"));
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}
