//! Marks of netcord's rules, in what the tools of either firewall print.

/// The comments of netcord's rules in what `iptables-save` prints, without `netcord:`.
pub(crate) fn comments(saved: &str) -> impl Iterator<Item = &str> {
    saved.lines().filter_map(|line| {
        let (_, comment) = line.strip_prefix("-A ")?.split_once("--comment ")?;
        let comment = match comment.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next(),
            None => comment.split(' ').next(),
        };
        comment?.strip_prefix("netcord:")
    })
}

/// The elements of a map of netcord's table, in what `nft list table inet netcord` prints.
pub(crate) fn elements<'t>(table: &'t str, map: &str) -> impl Iterator<Item = &'t str> + use<'t> {
    let start = format!("\tmap {map} {{");
    let lines = table.lines().skip_while(move |line| *line != start).take_while(|l| *l != "\t}");
    let elements = lines
        .skip_while(|line| !line.contains("elements = { "))
        .map(|line| line.split_once("elements = { ").map_or(line, |(_, first)| first));
    elements.flat_map(|line| line.trim_matches(['\t', ' ', ',', '}']).split(", "))
}

/// The published ports in netcord's table, as the comments of iptables say them.
pub(crate) fn published(table: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (family, any) in [('4', "0.0.0.0"), ('6', "[::]")] {
        for kind in ["ports", "ranges"] {
            for at in ["", "-at"] {
                let elements = elements(table, &format!("{kind}{family}{at}"));
                found.extend(elements.filter_map(|element| one_published(element, any)));
            }
        }
    }
    found
}

/// `[ADDRESS . ]PROTOCOL . PORTS comment "netcord:OWNER[ PORTS]" : ADDRESS[ . PORT]`.
fn one_published(element: &str, any: &str) -> Option<String> {
    let (from, rest) = element.split_once(" comment \"netcord:")?;
    let (comment, to) = rest.split_once("\" : ")?;
    let owner = comment.split(' ').next()?;
    let from: Vec<_> = from.split(" . ").collect();
    let (protocol, ports) = (from[from.len() - 2], from[from.len() - 1]);
    let address = if from.len() == 3 { bracketed(from[0]) } else { any.to_owned() };
    let (to, inside) = to.split_once(" . ").unwrap_or((to, ports));
    Some(format!("{owner} publish {address}:{ports} -> {}:{inside}/{protocol}", bracketed(to)))
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}
