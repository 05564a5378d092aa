//! Templates: how a message's fields get into a reply, a URL, a header or a body. minijinja, strict, with a budget.
//!
//! This room imports no other. It must not load files, read the environment, see a secret, or let a rendered value be
//! taken for template source; and its errors never repeat a rendered value, because values are customers' texts.

mod filters;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Enumerator, Object, Serde, ValueKind};
use minijinja::{AutoEscape, Environment, ErrorKind, Expression, Output, State, UndefinedBehavior, Value};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Instructions one rendering may execute: enough for any message, too little for a loop that stalls the worker.
const FUEL: u64 = 20_000;

/// All but RFC 3986's unreserved characters. minijinja's own `urlencode` leaves `/`, with which a text could choose
/// another path.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

static TEXT: LazyLock<Environment<'static>> = LazyLock::new(|| environment(write_text));
static URL: LazyLock<Environment<'static>> = LazyLock::new(|| environment(write_url));

/// Why a template does not compile or render.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}{problem}", Position(.path, *.line, *.column))]
pub struct TemplateError {
    /// JSON pointer of the leaf inside a [`Tree`]; empty for a lone template.
    pub path: String,
    /// Line in the template, from 1.
    pub line: Option<usize>,
    /// Column in that line, from 1, in characters.
    pub column: Option<usize>,
    /// What is wrong, in the template's own words; never a rendered value.
    pub problem: String,
}

struct Position<'a>(&'a str, Option<usize>, Option<usize>);

impl fmt::Display for Position<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() {
            write!(f, "at {}: ", self.0)?;
        }
        match (self.1, self.2) {
            (Some(line), Some(column)) => write!(f, "line {line}, column {column}: "),
            (Some(line), None) => write!(f, "line {line}: "),
            _ => Ok(()),
        }
    }
}

/// One compiled string template.
pub struct Template {
    source: String,
    /// None where the source has no template syntax: it renders as itself.
    compiled: Option<Box<Environment<'static>>>,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.source).finish()
    }
}

impl Template {
    /// Compiles a template whose values go out as they are.
    ///
    /// # Errors
    /// The syntax error with its line and column.
    pub fn compile(source: &str) -> Result<Self, TemplateError> {
        Self::compile_in(&TEXT, source)
    }

    /// Compiles a template for a URL: every value is percent-encoded, `/` and `?` too, so that a text stays inside the
    /// path segment or parameter it was put into. `urlencode` may still be written; nothing is encoded twice.
    ///
    /// # Errors
    /// The syntax error with its line and column.
    pub fn compile_url(source: &str) -> Result<Self, TemplateError> {
        Self::compile_in(&URL, source)
    }

    fn compile_in(base: &Environment<'static>, source: &str) -> Result<Self, TemplateError> {
        let compiled = if first_tag(source).is_some() {
            // Cloning shares filters and tests; only the compiled source is this template's own.
            let mut environment = Box::new(base.clone());
            environment
                .add_template_owned(NAME, source.to_owned())
                .map_err(|error| describe(&error, source, None, 0))?;
            Some(environment)
        } else {
            None
        };
        Ok(Self {
            source: source.to_owned(),
            compiled,
        })
    }

    /// The template as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text before the first tag: what no message can change.
    pub fn static_prefix(&self) -> &str {
        let end = first_tag(&self.source).unwrap_or(self.source.len());
        self.source.get(..end).unwrap_or_default()
    }

    /// Fills the template.
    ///
    /// # Errors
    /// A name that is not defined, a filter that does not fit its value, or the budget spent.
    pub fn render(&self, context: &Context) -> Result<String, TemplateError> {
        let Some(environment) = &self.compiled else {
            return Ok(self.source.clone());
        };
        environment
            .get_template(NAME)
            .and_then(|template| template.render(context.root.clone()))
            .map_err(|error| describe(&error, &self.source, Some(context), 0))
    }

    /// Renders against `context` and also looks for undefined names in branches that this rendering does not take.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn check(&self, context: &Context) -> Result<(), TemplateError> {
        self.render(context)?;
        let Some(environment) = &self.compiled else {
            return Ok(());
        };
        let names = environment
            .get_template(NAME)
            .map(|template| template.undeclared_variables(false));
        let unknown = names.unwrap_or_default().into_iter().find(|name| !context.knows(name));
        unknown.map_or(Ok(()), |name| {
            Err(undefined(&format!("`{name}` is undefined"), context))
        })
    }
}

/// A structured value whose string leaves are templates: a quote mark in a text cannot break the JSON around it.
pub enum Tree {
    /// A leaf without template syntax, of any type.
    Fixed(serde_json::Value),
    /// A leaf that is exactly one `{{ expression }}`: its value keeps its type.
    Typed(Typed),
    /// Any other templated leaf: a string.
    Text(Template),
    /// An array.
    List(Vec<Tree>),
    /// An object; its keys are never templates.
    Map(Vec<(String, Tree)>),
}

/// One compiled expression.
pub struct Typed {
    source: String,
    /// Bytes before the expression in the leaf, so that columns count from the leaf's start.
    offset: usize,
    expression: Expression<'static, 'static>,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(value) => value.fmt(f),
            Self::Typed(typed) => typed.fmt(f),
            Self::Text(template) => template.fmt(f),
            Self::List(items) => f.debug_list().entries(items).finish(),
            Self::Map(entries) => f
                .debug_map()
                .entries(entries.iter().map(|(key, tree)| (key, tree)))
                .finish(),
        }
    }
}

impl fmt::Debug for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Typed").field(&self.source).finish()
    }
}

impl Tree {
    /// Compiles every string leaf of `value`.
    ///
    /// # Errors
    /// The first syntax error, with the leaf's JSON pointer.
    pub fn compile(value: &serde_json::Value) -> Result<Self, TemplateError> {
        match value {
            serde_json::Value::String(source) => Self::compile_leaf(source),
            serde_json::Value::Array(items) => {
                let compile = |(index, item): (usize, _)| Self::compile(item).map_err(|e| e.below(&index.to_string()));
                items
                    .iter()
                    .enumerate()
                    .map(compile)
                    .collect::<Result<_, _>>()
                    .map(Self::List)
            }
            serde_json::Value::Object(entries) => {
                let compile = |(key, item): (&String, _)| match Self::compile(item) {
                    Ok(tree) => Ok((key.clone(), tree)),
                    Err(error) => Err(error.below(key)),
                };
                entries.iter().map(compile).collect::<Result<_, _>>().map(Self::Map)
            }
            fixed => Ok(Self::Fixed(fixed.clone())),
        }
    }

    fn compile_leaf(source: &str) -> Result<Self, TemplateError> {
        if first_tag(source).is_none() {
            return Ok(Self::Fixed(serde_json::Value::String(source.to_owned())));
        }
        match Typed::compile(source) {
            Some(typed) => Ok(Self::Typed(typed)),
            None => Template::compile(source).map(Self::Text),
        }
    }

    /// Fills every leaf.
    ///
    /// # Errors
    /// As [`Template::render`], with the leaf's JSON pointer.
    pub fn render(&self, context: &Context) -> Result<serde_json::Value, TemplateError> {
        match self {
            Self::Fixed(value) => Ok(value.clone()),
            Self::Typed(typed) => typed.render(context),
            Self::Text(template) => template.render(context).map(serde_json::Value::String),
            Self::List(items) => {
                let render =
                    |(index, item): (usize, &Self)| item.render(context).map_err(|e| e.below(&index.to_string()));
                items
                    .iter()
                    .enumerate()
                    .map(render)
                    .collect::<Result<_, _>>()
                    .map(serde_json::Value::Array)
            }
            Self::Map(entries) => {
                let render = |(key, item): &(String, Self)| match item.render(context) {
                    Ok(value) => Ok((key.clone(), value)),
                    Err(error) => Err(error.below(key)),
                };
                entries
                    .iter()
                    .map(render)
                    .collect::<Result<_, _>>()
                    .map(serde_json::Value::Object)
            }
        }
    }

    /// [`Template::check`] for every leaf.
    ///
    /// # Errors
    /// As [`Template::render`], with the leaf's JSON pointer.
    pub fn check(&self, context: &Context) -> Result<(), TemplateError> {
        match self {
            Self::Fixed(_) => Ok(()),
            Self::Typed(typed) => typed.check(context),
            Self::Text(template) => template.check(context),
            Self::List(items) => {
                let check =
                    |(index, item): (usize, &Self)| item.check(context).map_err(|e| e.below(&index.to_string()));
                items.iter().enumerate().try_for_each(check)
            }
            Self::Map(entries) => entries
                .iter()
                .try_for_each(|(key, item)| item.check(context).map_err(|e| e.below(key))),
        }
    }
}

impl Typed {
    /// The expression, if the leaf is one and nothing else; `{{ a }} {{ b }}` is not.
    fn compile(leaf: &str) -> Option<Self> {
        let inner = leaf.strip_prefix("{{")?.strip_suffix("}}")?;
        let inner = inner.strip_suffix(['-', '+']).unwrap_or(inner);
        let source = inner.strip_prefix(['-', '+']).unwrap_or(inner);
        let expression = TEXT.compile_expression_owned(source.to_owned()).ok()?;
        Some(Self {
            source: source.to_owned(),
            offset: 2 + inner.len() - source.len(),
            expression,
        })
    }

    fn render(&self, context: &Context) -> Result<serde_json::Value, TemplateError> {
        let value = self
            .expression
            .eval(context.root.clone())
            .map_err(|error| describe(&error, &self.source, Some(context), self.offset))?;
        if value.is_undefined() {
            return Err(undefined(&format!("`{}` is undefined", self.source.trim()), context));
        }
        let kind = value.kind();
        serde_json::to_value(value).map_err(|_unserializable| TemplateError {
            path: String::new(),
            line: None,
            column: None,
            problem: format!("`{}` gives a {kind}, which JSON cannot hold", self.source.trim()),
        })
    }

    fn check(&self, context: &Context) -> Result<(), TemplateError> {
        self.render(context)?;
        let unknown = self
            .expression
            .undeclared_variables(false)
            .into_iter()
            .find(|name| !context.knows(name));
        unknown.map_or(Ok(()), |name| {
            Err(undefined(&format!("`{name}` is undefined"), context))
        })
    }
}

impl TemplateError {
    /// The same error seen from one level up.
    fn below(mut self, key: &str) -> Self {
        let escaped = key.replace('~', "~0").replace('/', "~1");
        self.path = format!("/{escaped}{}", self.path);
        self
    }
}

/// The names a template may use and what they stand for.
#[derive(Clone)]
pub struct Context {
    root: Value,
    /// Its values were made up, so an error may quote them.
    sample: bool,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("names", &self.names())
            .finish_non_exhaustive()
    }
}

impl Context {
    /// The names and values of an object. An object under `m` is taken for what a regular expression captured: `m.1`,
    /// `m[1]` and `m.name` all find their entry, and a group that took no part is empty text.
    pub fn new(names: serde_json::Value) -> Self {
        let serde_json::Value::Object(names) = names else {
            return Self {
                root: value_of(names),
                sample: false,
            };
        };
        let root = names.into_iter().map(|(name, value)| match value {
            serde_json::Value::Object(captured) if name == "m" => (name, Value::from_object(Captures::of(captured))),
            value => (name, value_of(value)),
        });
        Self {
            root: Value::from_pairs(root),
            sample: false,
        }
    }

    /// The names it defines, in alphabetical order.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .root
            .try_iter()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        names.sort();
        names
    }

    /// The same names and one more, or with another value.
    #[must_use]
    pub fn with(&self, name: &str, value: serde_json::Value) -> Self {
        let others = self.names().into_iter().filter(|known| known != name);
        let others = others.filter_map(|known| Some((known.clone(), self.root.get_attr(&known).ok()?)));
        let added = (name.to_owned(), value_of(value));
        Self {
            root: Value::from_pairs(others.chain([added])),
            sample: self.sample,
        }
    }

    /// Whether a template may use `name`: one of ours, or a function of the language.
    fn knows(&self, name: &str) -> bool {
        self.root.get_attr(name).is_ok_and(|value| !value.is_undefined())
            || TEXT.globals().any(|(global, _)| global == name)
    }
}

/// What a regular expression captured, or stands in for it while nothing has been matched yet.
#[derive(Debug)]
enum Captures {
    Of(BTreeMap<String, Value>),
    Any,
}

impl Captures {
    fn of(captured: serde_json::Map<String, serde_json::Value>) -> Self {
        let value = |value: serde_json::Value| {
            if value.is_null() {
                Value::from("")
            } else {
                value_of(value)
            }
        };
        Self::Of(captured.into_iter().map(|(group, text)| (group, value(text))).collect())
    }
}

impl Object for Captures {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match &**self {
            Self::Of(groups) => match key.as_str() {
                Some(name) => groups.get(name).cloned(),
                None => groups.get(&key.as_i64()?.to_string()).cloned(),
            },
            // A digit, so that `m.1 | int` passes the check that it will pass with a message.
            Self::Any => Some(Value::from("1")),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match &**self {
            Self::Of(groups) => Enumerator::Values(groups.keys().map(|group| Value::from(group.as_str())).collect()),
            Self::Any => Enumerator::Str(&["0", "1"]),
        }
    }
}

/// Every name an action's template may use, with made-up values: to refuse an unknown name when the configuration loads.
pub fn sample() -> Context {
    sampled(|given| serde_json::Value::from(given))
}

/// As [`sample`], with everything missing that a gateway or a rule may leave out.
pub fn sparse_sample() -> Context {
    sampled(|_missing| serde_json::Value::Null)
}

fn sampled(maybe: impl Fn(&str) -> serde_json::Value) -> Context {
    let at = "2026-01-31T12:00:00.000Z";
    let mut context = Context::new(serde_json::json!({
        "from": "14155550100", "to": "14155550199", "text": "Hello", "ref": maybe("order-7"), "now": at,
        "tenantName": maybe("Acme"), "deviceId": maybe("dev_1"),
        "sender": "+14155550100", "recipient": "+14155550199", "endpoint": "main",
        "message": {
            "id": "018d5f5e-0000-7000-8000-000000000000", "message_id": maybe("msg_1"), "sent_at": maybe(at),
            "received_at": at, "conversation_id": "018d5f5e-0000-8000-8000-000000000000", "duplicates": 0,
            "media": [{ "url": "https://media.example.com/1", "content_type": maybe("image/jpeg") }],
            "missing_parts": 0, "verified": true,
            "consent": { "event": maybe("opt_out"), "keyword": maybe("arret"), "language": maybe("fr") },
        },
        "rule": maybe("hours"), "action": "ticket", "job": { "id": 1, "attempt": 1 },
    }));
    let all = context.names();
    let fixed = all
        .into_iter()
        .filter_map(|name| Some((name.clone(), context.root.get_attr(&name).ok()?)));
    context.root = Value::from_pairs(fixed.chain([("m".to_owned(), Value::from_object(Captures::Any))]));
    context.sample = true;
    context
}

/// Every name a gateway file's reply request may use, with made-up values.
pub fn sample_reply() -> Context {
    let mut context = Context::new(serde_json::json!({
        "to": "+14155550100", "from": "+14155550199", "reply_text": "Hello", "deviceId": "dev_1",
        "reply_ref": "smshook-018d5f5e000070008000000000000000-1", "now": "2026-01-31T12:00:00.000Z",
    }));
    context.sample = true;
    context
}

/// The name minijinja knows a template by; without an extension nothing is escaped.
const NAME: &str = "template";

fn environment(write: fn(&mut Output, &mut State, &Value) -> Result<(), minijinja::Error>) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_name| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    // Only so that an error names the undefined variable; `describe` drops the values that come along.
    environment.set_debug(true);
    environment.set_formatter(write);
    environment.remove_global("debug");
    environment.add_filter("urlencode", url_encode);
    filters::add(&mut environment);
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        environment.set_syntax(syntax);
    }
    environment
}

/// A value as text: nothing for null, JSON's words for booleans.
fn text_of(value: &Value) -> String {
    match value.kind() {
        ValueKind::None => String::new(),
        ValueKind::Bool => value.to_string().to_lowercase(),
        _ => value.to_string(),
    }
}

fn write_text(out: &mut Output, _state: &mut State, value: &Value) -> Result<(), minijinja::Error> {
    match value.as_str() {
        Some(text) => Ok(out.write_str(text)?),
        None => Ok(out.write_str(&text_of(value))?),
    }
}

/// Writes a value into a URL: percent-encoded unless `urlencode` has done that.
fn write_url(out: &mut Output, state: &mut State, value: &Value) -> Result<(), minijinja::Error> {
    if value.is_safe() {
        write_text(out, state, value)
    } else {
        write_text(out, state, &url_encode(value)?)
    }
}

fn url_encode(value: &Value) -> Result<Value, minijinja::Error> {
    if value.is_undefined() {
        return Err(ErrorKind::UndefinedError.into());
    }
    let encoded = utf8_percent_encode(&text_of(value), RESERVED).to_string();
    Ok(Value::from_safe_string(encoded))
}

fn value_of(json: serde_json::Value) -> Value {
    Value::from(Serde(json))
}

/// Where the first tag opens.
fn first_tag(source: &str) -> Option<usize> {
    ["{{", "{%", "{#"].into_iter().filter_map(|tag| source.find(tag)).min()
}

/// Puts an error into words that hold names and positions only. minijinja's details may quote values (a failed
/// conversion does), so they pass only when they cannot: before rendering, for unknown names, or with a sample.
fn describe(error: &minijinja::Error, source: &str, context: Option<&Context>, offset: usize) -> TemplateError {
    let range = error.range().and_then(|range| source.get(range));
    let (line, column) = position(error, source, offset);
    let names_only = matches!(
        error.kind(),
        ErrorKind::SyntaxError
            | ErrorKind::UnknownFilter
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownMethod
    );
    let detail = error
        .detail()
        .filter(|_| names_only || context.is_none_or(|context| context.sample));
    let mut problem = match (error.kind(), detail, context) {
        (ErrorKind::UndefinedError, _, Some(context)) => {
            let name = error.detail().map_or_else(
                || format!("`{}` is undefined", range.unwrap_or("a name")),
                str::to_owned,
            );
            undefined(&name, context).problem
        }
        (ErrorKind::OutOfFuel, ..) => "it takes too many steps to render".to_owned(),
        (_, Some(detail), _) => detail.to_owned(),
        (kind, None, _) => kind.to_string(),
    };
    if let (Some(range), false) = (range, problem.contains('`')) {
        problem = format!("{problem}, at `{}`", range.trim());
    }
    TemplateError {
        path: String::new(),
        line,
        column,
        problem,
    }
}

/// An undefined name, with the names there are when it is none of them (and not just a field that is missing).
fn undefined(problem: &str, context: &Context) -> TemplateError {
    let lone = !problem.contains(['.', '[']);
    let known = if lone {
        format!("; known here: {}", context.names().join(", "))
    } else {
        String::new()
    };
    TemplateError {
        path: String::new(),
        line: None,
        column: None,
        problem: format!("{problem}{known}"),
    }
}

fn position(error: &minijinja::Error, source: &str, offset: usize) -> (Option<usize>, Option<usize>) {
    let column = error.range().and_then(|range| source.get(..range.start)).map(|before| {
        let start_of_line = before.rfind('\n');
        let chars = before
            .get(start_of_line.map_or(0, |at| at + 1)..)
            .unwrap_or_default()
            .chars()
            .count();
        chars + 1 + if start_of_line.is_none() { offset } else { 0 }
    });
    (error.line(), column)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn context() -> Context {
        Context::new(json!({
            "text": "it's \"fine\" {{ 1 + 1 }} {% raw %}", "sender": "+14155550100", "ref": null, "count": 3, "ok": true,
            "m": { "0": "order 42", "1": "42", "name": "Ann", "2": null }, "message": { "id": "x" },
        }))
    }

    fn render(source: &str) -> String {
        Template::compile(source).unwrap().render(&context()).unwrap()
    }

    fn failure(source: &str) -> String {
        Template::compile(source)
            .and_then(|template| template.render(&context()))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn captures_are_found_by_number_and_by_name() {
        assert_eq!(
            render("{{ m.1 }} {{ m[1] }} {{ m['1'] }} {{ m.name }} [{{ m.2 }}] {{ m.0 }}"),
            "42 42 42 Ann [] order 42"
        );
        assert_eq!(render("{% for group in m %}{{ group }} {% endfor %}"), "0 1 2 name ");
        assert!(failure("{{ m.other }}").contains("`m.other` is undefined"));
    }

    #[test]
    fn what_a_customer_wrote_is_never_a_template() {
        assert_eq!(render("{{ text }}"), "it's \"fine\" {{ 1 + 1 }} {% raw %}");
        let tree = Tree::compile(&json!({ "a": "{{ text }}", "b": "x {{ text }}" })).unwrap();
        let rendered = tree.render(&context()).unwrap();
        assert_eq!(rendered["a"], "it's \"fine\" {{ 1 + 1 }} {% raw %}");
        assert_eq!(rendered["b"], "x it's \"fine\" {{ 1 + 1 }} {% raw %}");
    }

    #[test]
    fn a_leaf_that_is_one_expression_keeps_its_type_and_any_other_is_text() {
        let tree = Tree::compile(&json!({
            "number": "{{ count + 1 }}", "bool": "{{ ok }}", "null": "{{- ref -}}", "text": "{{ sender }}",
            "map": "{{ {'a': count} }}", "two": "{{ count }}{{ count }}", "fixed": [1, "plain", null], "mixed": "#{{ count }}",
        }));
        let rendered = tree.unwrap().render(&context()).unwrap();
        assert_eq!(
            rendered,
            json!({
                "number": 4, "bool": true, "null": null, "text": "+14155550100", "map": { "a": 3 }, "two": "33",
                "fixed": [1, "plain", null], "mixed": "#3",
            })
        );
    }

    #[test]
    fn nothing_is_added_or_lost_around_values() {
        assert_eq!(render("a\n{{ count }}\n"), "a\n3\n");
        assert_eq!(render("[{{ ref }}] {{ ok }} {{ count }}"), "[] true 3");
        assert_eq!(render("no tags }} at all\n"), "no tags }} at all\n");
        assert_eq!(render("<{{ '<b>&' }}>"), "<<b>&>");
    }

    #[test]
    fn an_undefined_name_is_named_with_its_place_and_the_names_there_are() {
        let error = failure("line one\n  {{ sendr }}");
        assert!(
            error.starts_with("line 2, column 6: `sendr` is undefined; known here: "),
            "{error}"
        );
        assert!(error.contains("message") && error.contains("sender"), "{error}");
        let error = Tree::compile(&json!({ "a": [{ "b/c": "{{ sendr }}" }] }))
            .unwrap()
            .render(&context())
            .unwrap_err();
        assert!(
            error.to_string().starts_with("at /a/0/b~1c: `sendr` is undefined"),
            "{error}"
        );
        assert!(failure("{{ message.idd }}").ends_with("`message.idd` is undefined"));
        assert!(failure("{{ message[text] }}").contains("is undefined"));
        assert!(failure("{{ message.idd | urlencode }}").contains("is undefined"));
    }

    #[test]
    fn a_mistake_in_the_template_is_told_where_it_is() {
        assert!(failure("abc {{ text").starts_with("line 1, column"));
        assert!(failure("{{ text | shout }}").contains("filter shout is unknown"));
        assert!(failure("{% include 'secrets' %}").contains("unknown statement include"));
        assert!(failure("{% import 'a' as b %}").contains("unknown statement import"));
        assert!(failure("{{ env('HOME') }}").contains("env is unknown"));
        assert!(failure("{{ debug() }}").contains("debug is unknown"));
    }

    #[test]
    fn an_error_never_repeats_a_rendered_value() {
        let secret = Context::new(json!({ "text": "4711 sesame", "message": {} }));
        for source in [
            "{{ text | int }}",
            "{{ text + 1 }}",
            "{{ message[text] }}",
            "{{ text.sesame() }}",
            "{{ text | round }}",
        ] {
            let error = Template::compile(source)
                .unwrap()
                .render(&secret)
                .unwrap_err()
                .to_string();
            assert!(!error.contains("4711"), "{source}: {error}");
            let typed = Tree::compile(&json!(source))
                .unwrap()
                .render(&secret)
                .unwrap_err()
                .to_string();
            assert!(!typed.contains("4711"), "{source}: {typed}");
        }
    }

    #[test]
    fn a_template_that_runs_away_is_stopped() {
        assert!(failure("{% for i in range(10000) %}{{ i }}{% endfor %}").contains("too many steps"));
    }

    #[test]
    fn a_value_in_a_url_stays_in_its_place() {
        let context = Context::new(json!({ "text": "../a b?c=d#e&f%2F\n", "id": "7" }));
        let render = |source| Template::compile_url(source).unwrap().render(&context).unwrap();
        let encoded = "..%2Fa%20b%3Fc%3Dd%23e%26f%252F%0A";
        assert_eq!(
            render("https://x/{{ text }}/{{ id }}"),
            format!("https://x/{encoded}/7")
        );
        assert_eq!(
            render("https://x/{{ text | urlencode }}"),
            format!("https://x/{encoded}")
        );
        let plain = Template::compile("{{ text | urlencode }}")
            .unwrap()
            .render(&context)
            .unwrap();
        assert_eq!(plain, encoded);
    }

    #[test]
    fn the_static_prefix_is_what_stands_before_the_first_tag() {
        let prefix = |source| Template::compile_url(source).unwrap().static_prefix().to_owned();
        assert_eq!(prefix("https://x.example/a/{{ text }}"), "https://x.example/a/");
        assert_eq!(prefix("https://x.example/a"), "https://x.example/a");
        assert_eq!(prefix("{% if ok %}a{% endif %}{{ text }}"), "");
    }

    #[test]
    fn the_samples_accept_every_documented_name_and_refuse_any_other() {
        for name in [
            "from",
            "text",
            "ref",
            "now",
            "tenantName",
            "deviceId",
            "sender",
            "recipient",
            "to",
            "endpoint",
        ] {
            Template::compile(&format!("{{{{ {name} }}}}"))
                .unwrap()
                .check(&sample())
                .unwrap();
            Template::compile(&format!("{{{{ {name} }}}}"))
                .unwrap()
                .check(&sparse_sample())
                .unwrap();
        }
        let fields =
            "{{ message.conversation_id }}{{ job.attempt }}{{ rule }}{{ action }}{{ m.7 }}{{ m.any | int }}{{ m[1] }}";
        Template::compile(fields).unwrap().check(&sample()).unwrap();
        Template::compile("{{ to }}{{ reply_text }}{{ reply_ref }}")
            .unwrap()
            .check(&sample_reply())
            .unwrap();
        let hidden = Template::compile("{% if false %}{{ sms }}{% endif %}").unwrap();
        assert!(hidden.render(&sample()).is_ok());
        assert!(
            hidden
                .check(&sample())
                .unwrap_err()
                .to_string()
                .contains("`sms` is undefined; known here:")
        );
        assert!(
            Tree::compile(&json!("{{ sms if false }}"))
                .unwrap()
                .check(&sample())
                .is_err()
        );
        Template::compile("{% for i in range(3) %}{{ loop.index }}{% endfor %}")
            .unwrap()
            .check(&sample())
            .unwrap();
    }

    #[test]
    fn templates_show_their_source_and_contexts_only_their_names() {
        assert_eq!(
            format!("{:?}", Template::compile("a {{ text }}").unwrap()),
            "Template(\"a {{ text }}\")"
        );
        assert!(!format!("{:?}", context()).contains("4155"));
    }
}
