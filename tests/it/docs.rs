//! The pages under `docs` are true: every configuration in them loads, every operation of a connector is on its page with its
//! effect, and every link leads somewhere.

use std::path::{Path, PathBuf};

use crate::helpers::{SECRET, smshook};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every file under a folder of the repository with this ending, by path.
fn files(folder: &str, ending: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(ROOT).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

/// The blocks of TOML in a page, each with the number of its line.
fn blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in page.lines().enumerate() {
        match &mut open {
            None if line.trim() == "```toml" => open = Some((number + 1, String::new())),
            Some(_) if line.trim() == "```" => blocks.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
            None => {}
        }
    }
    blocks
}

/// The names of the environment that a block reads: `{ env = "NAME" }`.
fn environment(block: &str) -> Vec<&str> {
    let after = block.split("env = \"").skip(1);
    after.map(|rest| rest.split('"').next().unwrap()).collect()
}

/// Something that a variable of that name could hold.
fn value_for(name: &str, block: &str) -> String {
    if name.ends_with("PUBLIC_KEY") {
        // RFC 8032, 7.1, test 1.
        return "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".to_owned();
    }
    if name == "WEBHOOK_SECRET" {
        return "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned();
    }
    if name.ends_with("ERASURE_KEY") {
        return "0123456789abcdef".repeat(2);
    }
    if name == "DATABASE_URL" {
        return "postgres://a:b@localhost/c".to_owned();
    }
    if !name.ends_with("URL") {
        return "of the tests".to_owned();
    }
    let host = match block {
        block if block.contains("\"slack\"") => "hooks.slack.com",
        block if block.contains("\"teams\"") => "x.environment.api.powerplatform.com",
        block if block.contains("\"discord\"") => "discord.com",
        block if block.contains("hooks.zapier.com") => "hooks.zapier.com",
        _ => "www.example.com",
    };
    format!("https://{host}/of-the-tests?sig=x")
}

/// The block as a whole configuration: with an endpoint, and with a rule for actions that have none.
fn configuration(block: &str) -> String {
    let endpoint = format!(
        "\n[[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"mobile-api-connect\"\nsecrets = [\"{SECRET}\"]\n"
    );
    let actions: Vec<&str> = block
        .lines()
        .filter_map(|line| line.strip_prefix("[action.")?.split([']', '.']).next())
        .collect();
    let rule = format!("\n[[rule]]\nname = \"everything\"\nany = true\nactions = {actions:?}\n");
    let endpoint = if block.contains("[[endpoint]]") { "" } else { &endpoint };
    let rule = if block.contains("[[rule]]") { "" } else { &rule };
    format!("{block}{endpoint}{rule}")
}

#[test]
fn every_configuration_in_the_pages_loads_and_its_requests_can_be_shown() {
    let directory = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (page, text) in files("docs", "md") {
        for (line, block) in blocks(&text) {
            seen += 1;
            let file = directory.path().join(format!("{seen}.toml"));
            std::fs::write(&file, configuration(&block)).unwrap();
            let preview: &[&str] = &["rules", "test", "my umbrella", "--from", "+14155550100"];
            for command in [&["check"], preview] {
                let mut run = smshook(&[&["--config", file.to_str().unwrap()], command].concat());
                for name in environment(&block) {
                    run.env(name, value_for(name, &block));
                }
                let output = run.output().unwrap();
                let said =
                    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
                if !output.status.success() || said.contains("cannot run") {
                    wrong.push(format!("{}:{line}: {command:?}: {said}", page.display()));
                }
            }
        }
    }
    assert!(seen >= 13, "the pages lost their configurations");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_operation_is_on_its_page_with_its_effect() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (file, text) in files("connectors", "toml") {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let page = Path::new(ROOT).join("docs/connectors").join(format!("{name}.md"));
        let Ok(page) = std::fs::read_to_string(page) else {
            wrong.push(format!("{name} has no page"));
            continue;
        };
        let parsed: toml::Table = text.parse().unwrap();
        for (operation, variants) in parsed["operation"].as_table().unwrap() {
            let variants = match variants {
                toml::Value::Array(variants) => variants.clone(),
                one => vec![one.clone()],
            };
            for variant in variants {
                seen += 1;
                let row = format!("| `{operation}` | `{}` |", variant["effect"].as_str().unwrap());
                if !page.contains(&row) {
                    wrong.push(format!("docs/connectors/{name}.md lacks a row that begins `{row}`"));
                }
            }
        }
    }
    assert!(seen >= 5, "no operations were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The name that a heading has in a link: lower case, blanks as dashes, no signs.
fn anchor(heading: &str) -> String {
    let kept = heading
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_');
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut pages = files("docs", "md");
    let readme = Path::new(ROOT).join("README.md");
    pages.push((readme.clone(), std::fs::read_to_string(readme).unwrap()));
    for (page, text) in pages {
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }
            let (path, section) = link
                .split_once('#')
                .map_or((link, None), |(path, section)| (path, Some(section)));
            let target = if path.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(path)
            };
            let found = std::fs::read_to_string(&target)
                .or_else(|error| if target.is_dir() { Ok(String::new()) } else { Err(error) });
            match (found, section) {
                (Err(_), _) => wrong.push(format!("{}: {link} is not there", page.display())),
                (Ok(text), Some(section))
                    if !text
                        .lines()
                        .any(|line| line.starts_with('#') && anchor(line.trim_start_matches('#')) == section) =>
                {
                    wrong.push(format!("{}: {link} has no such section", page.display()));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
