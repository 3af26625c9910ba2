use wit_parser::{InterfaceId, Resolve, SourceMap};

/// The contract's own files; the only copy.
const OPERATOR: [(&str, &str); 14] = [
    ("broadcast-input.wit", include_str!("../../../../wit/operator/broadcast-input.wit")),
    ("broadcast-state.wit", include_str!("../../../../wit/operator/broadcast-state.wit")),
    ("context.wit", include_str!("../../../../wit/operator/context.wit")),
    ("descriptors.wit", include_str!("../../../../wit/operator/descriptors.wit")),
    ("effects.wit", include_str!("../../../../wit/operator/effects.wit")),
    ("log.wit", include_str!("../../../../wit/operator/log.wit")),
    ("metrics.wit", include_str!("../../../../wit/operator/metrics.wit")),
    ("migration.wit", include_str!("../../../../wit/operator/migration.wit")),
    ("operator.wit", include_str!("../../../../wit/operator/operator.wit")),
    ("state.wit", include_str!("../../../../wit/operator/state.wit")),
    ("timers.wit", include_str!("../../../../wit/operator/timers.wit")),
    ("types.wit", include_str!("../../../../wit/operator/types.wit")),
    ("windows.wit", include_str!("../../../../wit/operator/windows.wit")),
    ("world.wit", include_str!("../../../../wit/operator/world.wit")),
];
const RECORD_OPERATOR: [(&str, &str); 1] =
    [("record-operator.wit", include_str!("../../../../wit/record-operator/record-operator.wit"))];

/// Packages of WASI 0.2 that the host offers; what is in them is checked when the component is linked.
const WASI: [&str; 6] = ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:io", "wasi:random", "wasi:sockets"];

/// Both packages of the contract, resolved.
pub(super) struct Contract {
    pub(super) resolve: Resolve,
}

impl Contract {
    pub(super) fn new() -> Result<Self, String> {
        let mut resolve = Resolve::default();
        push(&mut resolve, &OPERATOR)?;
        push(&mut resolve, &RECORD_OPERATOR)?;
        Ok(Self { resolve })
    }

    /// The interface of the contract that serves an import or export of this name.
    pub(super) fn interface(&self, name: &str) -> Option<InterfaceId> {
        self.names().find(|(_, ours)| is_compatible(name, ours)).map(|(id, _)| id)
    }

    /// The same interface in a version that does not serve it.
    pub(super) fn other_version(&self, name: &str) -> Option<String> {
        let path = name.split('@').next();
        self.names().map(|(_, ours)| ours).find(|ours| ours.split('@').next() == path)
    }

    fn names(&self) -> impl Iterator<Item = (InterfaceId, String)> {
        self.resolve.interfaces.iter().filter_map(|(id, _)| Some((id, self.resolve.id_of(id)?)))
    }
}

fn push(resolve: &mut Resolve, files: &[(&str, &str)]) -> Result<(), String> {
    let mut map = SourceMap::default();
    for (path, text) in files {
        map.push_str(path, *text);
    }
    let group = map.parse().map_err(|(map, error)| error.render(&map))?;
    resolve.push_group(group).map(drop).map_err(|error| error.to_string())
}

/// Whether a name stands for an interface of WASI that the host offers.
pub(super) fn is_wasi(name: &str) -> bool {
    let (path, version) = name.split_once('@').unwrap_or((name, ""));
    let package = path.split('/').next().unwrap_or(path);
    WASI.contains(&package) && version.starts_with("0.2.")
}

/// Whether two names stand for the same interface in versions of which one serves the other: within 0.x, the same x.
pub(super) fn is_compatible(one: &str, other: &str) -> bool {
    let track = |name: &str| {
        let (path, version) = name.split_once('@').unwrap_or((name, ""));
        let mut numbers = version.split('.');
        let (major, minor) = (numbers.next().map(str::to_owned), numbers.next().map(str::to_owned));
        let minor = minor.filter(|_| major.as_deref() == Some("0"));
        (path.to_owned(), major, minor)
    };
    track(one) == track(other)
}
