//! Schemas of configurations.

/// The JSON Schema of a configuration type, for [`Operator::config_schema`](crate::Operator::config_schema). Names, defaults and
/// `deny_unknown_fields` are taken from its `serde` attributes, descriptions from its comments.
///
/// ```
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct Config {
///     /// Orders up to this are small.
///     cents_max: u64,
/// }
/// let schema = millstream_sdk::schema::<Config>().unwrap_or_default();
/// assert!(schema.contains("Orders up to this are small"));
/// ```
#[must_use]
pub fn schema<T: schemars::JsonSchema>() -> Option<String> {
    serde_json::to_string(&schemars::schema_for!(T)).ok()
}
