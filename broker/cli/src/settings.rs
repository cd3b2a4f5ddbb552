//! Settings from a file and from the command line, as Java's `mqnamesrv` and `mqbroker` take them.

use crate::output;
use anyhow::Context;
use rmq_operator::api::settings::Readers;
use rmq_protocol::java_properties::{self, Found};
use std::{
    fmt,
    path::{Path, PathBuf},
};

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
    /// Stop when standard input ends, as at a signal: for whoever starts this process and must not
    /// leave it behind
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
    /// What the file and the options say, in order; later ones win.
    pub(crate) fn given(&self) -> anyhow::Result<Given> {
        let mut given = match &self.config {
            Some(path) => {
                let bytes =
                    std::fs::read(path).with_context(|| format!("cannot read the configuration {}", path.display()))?;
                Given::of_file(path, &bytes)
            }
            None => Given::default(),
        };
        for (key, value) in &self.sets {
            given.push(Location::Option("--set"), key.clone(), value.clone());
        }
        Ok(given)
    }
}

/// Where a setting was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Location {
    /// A line of the file; the first is 1.
    Line(usize),
    /// An option of the command line, or a variable of the environment.
    Option(&'static str),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Option(name) => f.write_str(name),
        }
    }
}

/// Settings as they were given, and what is wrong before anybody knows their keys.
#[derive(Debug, Default)]
pub(crate) struct Given {
    file: Option<String>,
    pairs: Vec<(String, String)>,
    /// Of each pair.
    places: Vec<Location>,
    wrong: Vec<(Option<Location>, String)>,
    warnings: Vec<String>,
}

impl Given {
    fn of_file(path: &Path, bytes: &[u8]) -> Self {
        let mut given = Self { file: Some(path.display().to_string()), ..Self::default() };
        let (text, not_utf8) = java_properties::decode(bytes);
        given.wrong = not_utf8
            .into_iter()
            .map(|line| {
                let text = "it is not UTF-8: save the file as UTF-8, or write the letter as \\uXXXX";
                (Some(Location::Line(line)), text.to_owned())
            })
            .collect();
        for entry in java_properties::entries(&text) {
            let same = given.pairs.iter().rposition(|(key, _)| *key == entry.key && !key.is_empty());
            if let Some(before) = same.filter(|before| given.pairs[*before].1 != entry.value) {
                given.warnings.push(format!(
                    "line {}: {} is {:?} here and {:?} in {}: the last one wins",
                    entry.line, entry.key, entry.value, given.pairs[before].1, given.places[before]
                ));
            }
            given.push(Location::Line(entry.line), entry.key, entry.value);
        }
        given
    }

    pub(crate) fn push(&mut self, place: Location, key: String, value: String) {
        self.pairs.push((key, value));
        self.places.push(place);
    }

    /// What holds unless the file or an option says otherwise.
    pub(crate) fn put_first(&mut self, place: Location, key: String, value: String) {
        self.pairs.insert(0, (key, value));
        self.places.insert(0, place);
    }

    pub(crate) fn pairs(&self) -> Vec<(&str, &str)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    /// The warnings in words; all that is wrong is one error, a line each.
    pub(crate) fn judge<E: fmt::Display>(
        mut self,
        warnings: Vec<Found<String>>,
        wrong: Vec<Found<E>>,
    ) -> (Vec<String>, anyhow::Result<()>) {
        let place = |pair: Option<usize>| pair.and_then(|pair| self.places.get(pair)).copied();
        self.warnings.extend(warnings.into_iter().map(|found| at(place(found.pair), &found.what)));
        self.wrong.extend(wrong.into_iter().map(|found| (place(found.pair), found.what.to_string())));
        // In the order of the file; what is about defaults comes last.
        self.wrong.sort_by_key(|(place, _)| (place.is_none(), *place));
        let source = self.file.unwrap_or_else(|| "the settings".to_owned());
        let verdict = match self.wrong.as_slice() {
            [] => Ok(()),
            [(place, text)] => Err(anyhow::anyhow!("{source}: {}", at(*place, text))),
            several => {
                let lines: String = several.iter().map(|(place, text)| format!("\n  {}", at(*place, text))).collect();
                Err(anyhow::anyhow!("{source}: {} settings are wrong{lines}", several.len()))
            }
        };
        (self.warnings, verdict)
    }
}

fn at(place: Option<Location>, text: &str) -> String {
    place.map_or_else(|| text.to_owned(), |place| format!("{place}: {text}"))
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
    use super::{Given, Location, READERS};
    use rmq_operator::{
        api::cluster::ClusterSpec,
        cluster::{
            topology::{self, Properties},
            validate,
        },
    };

    fn judged(text: &[u8]) -> (Vec<String>, String) {
        let mut given = Given::of_file("c.conf".as_ref(), text);
        given.push(Location::Option("-n"), "namesrvAddr".to_owned(), "foo;bar".to_owned());
        let read = rmq_server::Config::read(&given.pairs());
        let (warnings, verdict) = given.judge(read.warnings, read.wrong);
        (warnings, verdict.unwrap_err().to_string())
    }

    /// Each run told one kind of mistake, and none told where it stood.
    #[test]
    fn all_errors_of_a_file_are_reported_with_their_lines() {
        let (warnings, text) = judged(
            b"# gr\xfc\xdfe\n\nmaxMessageSize=99999999999999999999\n : = \nlistenPort=1\nbrokerName=\xe4\n\
            diskMaxUsedSpaceRatio=150\nfooBar=1\nlistenPort=10911\naclEnable=true\n",
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 8, "{text}");
        for (line, begin) in lines.iter().zip([
            "c.conf: 7 settings are wrong",
            "  line 3: maxMessageSize cannot be",
            "  line 4: there is no key before",
            "  line 6: it is not UTF-8: save the file as UTF-8",
            "  line 6: brokerName",
            "  line 7: diskMaxUsedSpaceRatio 150",
            "  line 8: there is no setting \"fooBar\"",
            "  -n: namesrvAddr: \"foo\" has no port",
        ]) {
            assert!(line.starts_with(begin), "{line} / {begin}");
        }
        assert!(
            warnings
                .contains(&"line 9: listenPort is \"10911\" here and \"1\" in line 5: the last one wins".to_owned())
        );
        assert!(warnings.iter().any(|warning| warning.starts_with("line 10: aclEnable")), "{warnings:?}");
        let (_, text) = judged(b"");
        assert!(text.starts_with("c.conf: -n: namesrvAddr: \"foo\" has no port") && !text.contains('\n'), "{text}");
    }

    /// What the operator itself writes into the files of pods must pass, or no cluster could ever
    /// change.
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
