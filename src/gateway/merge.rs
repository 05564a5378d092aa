//! `like`: a gateway of the user's own that is another one but for a few keys.
//!
//! It works on tables as they are typed and must not know what a key means, but for what decides about its neighbours.

use toml::{Table, Value};

/// The table of a gateway like `base`, with the keys of `own` in the place of its keys. Tables are merged however deep;
/// everything else is replaced, lists too. A `[signature]` of another `kind` replaces the base's as a whole, because the
/// kinds share few keys and one that is left over would be a mistake.
pub fn merged(base: &Table, own: &Table) -> Table {
    let mut merged = base.clone();
    if kind(own).is_some_and(|own| own != kind(base).unwrap_or("signature")) {
        merged.remove("signature");
    }
    merge(&mut merged, own);
    merged
}

fn kind(gateway: &Table) -> Option<&str> {
    gateway.get("signature")?.get("kind")?.as_str()
}

/// As deep as `own` is, which TOML's reader bounds.
fn merge(base: &mut Table, own: &Table) {
    for (key, value) in own {
        match (base.get_mut(key), value) {
            (Some(Value::Table(base)), Value::Table(own)) => merge(base, own),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}
