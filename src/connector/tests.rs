//! What a connector file may say, and that every built-in one is told by its own name.

use super::*;

const MINIMAL: &str = "name = \"x\"\ntitle = \"X\"\nflows = [\"notify\"]\n";

fn mistake(text: &str) -> String {
    Connector::from_toml(&format!("{MINIMAL}{text}"))
        .unwrap_err()
        .to_string()
}

#[test]
fn every_built_in_file_is_read_and_has_the_name_it_is_known_by() {
    for name in builtin_names() {
        let text = builtin(name).unwrap();
        let connector = Connector::from_toml(text).unwrap_or_else(|error| panic!("connectors/{name}.toml: {error}"));
        assert_eq!(connector.name, name);
        assert!(
            !connector.sources.is_empty(),
            "connectors/{name}.toml says where its facts come from"
        );
    }
}

#[test]
fn an_operation_is_one_table_or_a_list_of_variants() {
    let one = Connector::from_toml(&format!("{MINIMAL}[operation.notify]\npath = \"/a\"")).unwrap();
    let items: Vec<_> = one.operation["notify"].iter().map(|(item, _)| item).collect();
    assert_eq!(items, [None]);
    let many = "[[operation.notify]]\npath = \"/a\"\nwhen = { x = true, y = \"z\" }\n[[operation.notify]]\npath = \"/b\"\n\
                [[operation.notify.reconcile]]\npath = \"/c\"\n[[operation.notify.reconcile]]\npath = \"/d\"";
    let many = Connector::from_toml(&format!("{MINIMAL}{many}")).unwrap();
    let variants: Vec<_> = many.operation["notify"].iter().collect();
    assert_eq!(
        variants.iter().map(|(item, _)| *item).collect::<Vec<_>>(),
        [Some(0), Some(1)]
    );
    assert_eq!(variants[0].1.when["y"], WhenValue::Is("z".to_owned()));
    assert_eq!(variants[1].1.reconcile.as_ref().unwrap().iter().count(), 2);
}

#[test]
fn an_unknown_key_is_told_with_its_line_however_deep_it_is() {
    for text in [
        "colour = 1",
        "[knobs.a]\ntype = \"text\"\ncolour = 1",
        "[operation.notify]\ncolour = 1",
        "[[operation.notify]]\ncolour = 1",
        "[operation.notify]\n[[operation.notify.reconcile]]\ncolour = 1",
        "[[auth]]\nkind = \"none\"\ncolour = 1",
    ] {
        let said = mistake(text);
        let line = MINIMAL.lines().count() + text.lines().count();
        assert!(said.contains("unknown field `colour`"), "{text}: {said}");
        assert!(said.contains(&format!("line {line}")), "{text}: {said}");
    }
    assert!(mistake("rate = { waits = [{ unit = \"seconds\" }] }").contains("waits"));
    assert!(mistake("[knobs.a]\ntype = \"texts\"").contains("unknown variant"));
    assert!(mistake("[[error]]\nstatus = [99]\nmeans = \"retry\"").contains("a status from 100"));
}
