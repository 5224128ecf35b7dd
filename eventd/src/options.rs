//! The command line.

/// Text of `eventd --help`.
pub const HELP: &str = "\
Usage: eventd [OPTION]

Serves eventfd, named semaphores and signalfd under /scheme/eventd, in the foreground, until it is ended by SIGTERM or SIGINT.

Options:
      --log-level LEVEL  how much to log: off, error, warn, info (default), debug or trace
  -h, --help             print this help and exit
  -V, --version          print the version and exit

Environment:
  INIT_NOTIFY            number of a descriptor to which a zero byte is written once eventd serves; init sets it for a
                         service of type \"notify\"
  SCHEME_ROOT            on Linux: the directory in which the scheme appears (default /tmp/scheme)

Files:
  /scheme/eventd/eventfd/INITVAL/MODE
                         opening it makes a counter that starts at INITVAL; MODE 0 is a counter, 1 a semaphore
  /scheme/eventd/sem/NAME
                         what there is to say of a named semaphore; removing it unlinks the name
  /scheme/eventd/page/sem/NAME
                         its memory
  /scheme/eventd/new/sem/CONTENT/NAME
                         creating it makes a semaphore whose memory begins with CONTENT, in hexadecimal
  /scheme/eventd/signalfd/MASK
                         opening it makes a signalfd; MASK has sixteen hexadecimal digits
  /scheme/eventd/stat    totals, limits and uptime
  /scheme/eventd/list/eventfd
                         a row per live counter: of your own, or of all users for root
  /scheme/eventd/list/sem
                         a row per semaphore that you may read
  /scheme/eventd/list/signalfd
                         a row per signalfd, as for eventfd
  /scheme/eventd/list/waiters
                         a row per blocked request, likewise

Exit status: 0 after SIGTERM or SIGINT or for --help and --version, 1 if eventd cannot serve, 2 for a wrong command line.
";

/// What the command line asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Serve, logging up to this level.
    Serve(log::LevelFilter),
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
}

/// Reads the arguments that follow the program's name.
///
/// # Errors
/// A sentence for the person who typed them.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Action, String> {
    let mut arguments = arguments.into_iter();
    let mut level = log::LevelFilter::Info;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-h" | "--help" => return Ok(Action::Help),
            "-V" | "--version" => return Ok(Action::Version),
            "--log-level" => {
                let value = arguments.next().ok_or("--log-level needs a level")?;
                level = value.parse().map_err(|_| format!("no such log level: {value}"))?;
            }
            _ => return Err(format!("unknown argument: {argument}")),
        }
    }
    Ok(Action::Serve(level))
}

#[cfg(test)]
mod tests {
    use super::{Action, parse};

    fn parse_words(words: &str) -> Result<Action, String> {
        parse(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments() {
        assert_eq!(parse_words(""), Ok(Action::Serve(log::LevelFilter::Info)));
        assert_eq!(parse_words("--log-level debug"), Ok(Action::Serve(log::LevelFilter::Debug)));
        assert_eq!(parse_words("--log-level off -h"), Ok(Action::Help));
        assert_eq!(parse_words("-V"), Ok(Action::Version));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(parse_words("--log-level loud"), Err("no such log level: loud".into()));
        assert_eq!(parse_words("--log-level"), Err("--log-level needs a level".into()));
        assert_eq!(parse_words("start"), Err("unknown argument: start".into()));
    }
}
