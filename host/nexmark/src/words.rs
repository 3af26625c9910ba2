//! The words that events are made of. The six states are those that queries of the benchmark ask for.

pub(crate) const FIRST_NAMES: &[&str] =
    &["Anna", "Boris", "Chen", "Dalia", "Emil", "Fatou", "Greta", "Hugo", "Ines", "Jonas", "Kaya", "Luis"];

pub(crate) const LAST_NAMES: &[&str] =
    &["Adeyemi", "Berger", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia", "Haddad", "Ito", "Jansen", "Kaur"];

pub(crate) const CITIES: &[&str] =
    &["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];

pub(crate) const STATES: &[&str] = &["AZ", "CA", "ID", "OR", "WA", "WY"];

/// Half of all bids come through these.
pub(crate) const HOT_CHANNELS: &[&str] = &["Apple", "Baidu", "Facebook", "Google"];
