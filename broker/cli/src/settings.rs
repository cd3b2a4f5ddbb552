//! Settings from a file and from the command line, as Java's `mqnamesrv` and `mqbroker` take them.

use crate::output;
use anyhow::Context;
use rmq_operator::cluster::validate::Readers;
use rmq_protocol::java_properties;
use std::path::PathBuf;

/// Who reads the settings of a manifest before the processes do: `up` and the operator.
pub(crate) const READERS: Readers = Readers {
    namesrv: |pairs| {
        let read = rmq_namesrv::Config::from_properties(pairs.to_vec());
        read.map(|(_, warnings)| warnings).map_err(in_one_line)
    },
    broker: |pairs| {
        let read = rmq_server::Config::from_properties(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        read.map(|(_, warnings)| warnings).map_err(in_one_line)
    },
};

/// What is wrong, for a condition, which is shown in a line: several mistakes, which the readers
/// write a line each, are numbered.
fn in_one_line(error: impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mistakes: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match mistakes.as_slice() {
        [one] => (*one).to_owned(),
        several => {
            let numbered: Vec<String> = (1..).zip(several).map(|(number, text)| format!("({number}) {text}")).collect();
            format!("{} settings are wrong: {}", several.len(), numbered.join("; "))
        }
    }
}

/// Options of namesrv and broker.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Arguments {
    /// The configuration file: a Java properties file with RocketMQ's own keys
    #[arg(short, long = "config", alias = "configFile", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A setting, over what the file says; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    sets: Vec<(String, String)>,
    /// Print the settings in force, say what is wrong with them, and end
    #[arg(long, visible_short_alias = 'p', alias = "printConfigItem")]
    pub(crate) check: bool,
    /// The same for the settings that matter most
    #[arg(short = 'm', long = "check-important", alias = "printImportantConfig")]
    pub(crate) check_important: bool,
    /// Stop when standard input ends, as at a signal: for whoever starts this process and must not leave it behind
    #[arg(long)]
    pub(crate) stop_with_stdin: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

impl Arguments {
    /// Settings in order; later ones win.
    pub(crate) fn pairs(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut pairs = match &self.config {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the configuration {}", path.display()))?;
                java_properties::parse(&text)
            }
            None => Vec::new(),
        };
        pairs.extend(self.sets.iter().cloned());
        Ok(pairs)
    }

    /// Names the file in an error about its contents.
    pub(crate) fn context(&self) -> String {
        self.config.as_ref().map_or_else(|| "the settings".to_owned(), |path| path.display().to_string())
    }
}

/// Prints settings by name: value, and the default where it is another.
pub(crate) fn print(rows: impl IntoIterator<Item = (String, String, String, String)>) -> anyhow::Result<()> {
    let rows = rows.into_iter().map(|(key, value, default, meaning)| {
        let default = if default == value { String::new() } else { default };
        [key, value, default, meaning]
    });
    output::print_table(["KEY", "VALUE", "DEFAULT", "MEANING"], rows)
}

#[cfg(test)]
mod tests {
    use super::READERS;
    use rmq_operator::{
        api::cluster::ClusterSpec,
        cluster::{
            topology::{self, Properties},
            validate,
        },
    };

    /// What the operator itself writes into the files of pods must pass, or no cluster could ever change.
    #[test]
    fn the_settings_of_pods_are_read_before_pods_read_them() {
        let in_a_pod = |config: &Properties| config.iter().map(|(key, value)| (key.into(), value.into())).collect();
        let mut spec = ClusterSpec::default();
        assert_eq!(validate::settings(&topology::plan("a", &spec), READERS, in_a_pod), Ok(Vec::new()));
        spec.brokers.config.insert("fileReservdTime".into(), "48".into());
        spec.namesrv.config.insert("enableTopicLst".into(), "true".into());
        let wrong = validate::settings(&topology::plan("a", &spec), READERS, in_a_pod).unwrap_err();
        let fields: Vec<&str> = wrong.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["spec.namesrv.config", "spec.brokers.config"]);
        assert!(wrong[0].1.contains("enableTopicList") && wrong[1].1.contains("fileReservedTime"), "{wrong:?}");
    }

    /// Two mistakes were told as "spec.brokers.config ;   fileReservedTime cannot be ...;   there
    /// is no setting ...".
    #[test]
    fn several_mistakes_of_a_manifest_read_as_one_sentence() {
        let in_a_pod = |config: &Properties| config.iter().map(|(key, value)| (key.into(), value.into())).collect();
        let mut spec = ClusterSpec::default();
        for (key, value) in [("fileReservedTime", "two days"), ("deleteWhn", "04")] {
            spec.brokers.config.insert(key.into(), value.into());
        }
        for (key, value) in [("orderMessageEnable", "perhaps"), ("enableTopicLst", "true")] {
            spec.namesrv.config.insert(key.into(), value.into());
        }
        let wrong = validate::settings(&topology::plan("a", &spec), READERS, in_a_pod).unwrap_err();
        for ((field, text), key) in wrong.iter().zip(["enableTopicLst", "deleteWhn"]) {
            assert!(
                text.starts_with("2 settings are wrong: (1) there is no setting ") && text.contains(key),
                "{field}: {text}"
            );
            assert!(text.contains("; (2) ") && !text.contains("  ") && !text.contains('\n'), "{field}: {text}");
        }
    }
}
