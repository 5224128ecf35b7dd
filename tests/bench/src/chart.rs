//! Draws the figures of a run: how many times as long as the other each case takes on eventd.
//!
//! The numbers stand in columns beside the picture, so that no bar or mark can come in their way.

use std::fs;
use std::path::Path;

use svg::node::element::{Circle, Element, Line, Polygon, Rectangle, Title};
use svg::{Document, Node as _};

use crate::cases::CASES;
use crate::failure::{Context, Failure, Result};
use crate::figures::{self, Entry};
use crate::goals::{self, Goal, Goals};
use crate::scale::Scale;

const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 16.0;
/// Between columns.
const GAP: f64 = 16.0;
const ROW: f64 = 24.0;
/// Above the first row: the title and the heads of the columns.
const TOP: f64 = 74.0;
/// Below the last row: the scale, what it says, and the legend.
const BOTTOM: f64 = 90.0;
/// Above the first case of an interface.
const SPACE: f64 = 8.0;
const FONT_SIZE: f64 = 14.0;
/// What a character of that size takes at most on average. Whoever looks at the picture has other fonts; DejaVu Sans
/// is among the widest.
const CHARACTER: f64 = 8.8;

const FONTS: &str = "system-ui, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif";
// Its own background, and colours that are told apart by those who do not see red or green.
const BACKGROUND: &str = "#ffffff";
const STRIPE: &str = "#f3f5f7";
const BORDER: &str = "#d0d7de";
const GRID: &str = "#d8dee4";
const INK: &str = "#1f2328";
const FAINT: &str = "#59636e";
const FASTER: &str = "#0969da";
const SLOWER: &str = "#d4700b";

/// What was run, which decides how the figures are read and which goals there are.
#[derive(Clone, Copy, Debug)]
pub enum Run {
    /// `make bench`.
    Linux,
    /// `make bench-redox`.
    Redox,
}

impl Run {
    fn read(self, text: &str, cases: &[&str]) -> Result<Vec<Entry>> {
        match self {
            Self::Linux => figures::linux(text, cases),
            Self::Redox => figures::redox(text),
        }
    }

    fn goals(self) -> &'static Goals {
        match self {
            Self::Linux => goals::LINUX,
            Self::Redox => goals::REDOX,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Linux => "eventd on Linux, behind FUSE, compared with what Linux has itself",
            Self::Redox => "eventd on Redox, compared with what Redox has itself",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Linux => "medians in microseconds",
            // tests/redox/run.sh boots with such a clock.
            Self::Redox => "medians; 1 us is 1000 instructions",
        }
    }

    fn other(self) -> &'static str {
        match self {
            Self::Linux => "native",
            Self::Redox => "other",
        }
    }
}

/// Draws the figures in one file into another. Returns a sentence for each case that has no figure; the picture says
/// so, too.
pub fn draw(run: Run, figures: &Path, picture: &Path) -> Result<Vec<String>> {
    let cases: Vec<_> = CASES.iter().map(|case| case.name).collect();
    draw_cases(run, &cases, figures, picture)
}

/// The same for a run of these cases only.
pub(crate) fn draw_cases(run: Run, cases: &[&str], figures: &Path, picture: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(figures).context(|| format!("read {}", figures.display()))?;
    let entries = run
        .read(&text, cases)
        .and_then(|entries| if entries.is_empty() { Err(Failure::new("there are no figures")) } else { Ok(entries) })
        .map_err(|failure| Failure::new(format!("cannot draw {}: {failure}", figures.display())))?;
    fs::write(picture, Chart::new(run, &entries).draw()).context(|| format!("write {}", picture.display()))?;
    let unmeasured = entries.iter().filter(|entry| entry.ratio().is_none());
    Ok(unmeasured.map(|entry| format!("{} has no figure in {}", entry.case, figures.display())).collect())
}

/// The goal of a case as a ratio, and how it is written.
fn goal(entry: &Entry, entries: &[Entry], goals: &Goals) -> Option<(f64, String)> {
    let (_, goal) = goals.iter().find(|(case, _)| *case == entry.case)?;
    match *goal {
        Goal::Ratio(ratio) => Some((ratio, ratio.to_string())),
        Goal::Flat(like) => {
            let like = entries.iter().find(|entry| entry.case == like)?;
            Some((like.ours_us? / entry.other_us?, "flat".into()))
        }
    }
}

/// Three digits that count, and no more decimals than were measured.
fn time(us: Option<f64>) -> String {
    us.map_or_else(
        || "-".into(),
        |us| {
            let decimals = if us < 10.0 { 3 - usize::from(us >= 1.0) } else { usize::from(us < 100.0) };
            format!("{us:.decimals$}")
        },
    )
}

/// A column of texts, and where they end or begin.
struct Column {
    head: String,
    texts: Vec<String>,
    anchor: &'static str,
}

impl Column {
    fn new(head: &str, anchor: &'static str, texts: impl Iterator<Item = String>) -> Self {
        Self { head: head.into(), texts: texts.collect(), anchor }
    }

    fn width(&self) -> f64 {
        self.texts.iter().chain([&self.head]).map(|text| width(text)).fold(0.0, f64::max)
    }
}

fn width(text: &str) -> f64 {
    text.chars().map(|_| CHARACTER).sum()
}

struct Chart<'a> {
    run: Run,
    entries: &'a [Entry],
    goals: Vec<Option<(f64, String)>>,
    document: Document,
}

impl<'a> Chart<'a> {
    fn new(run: Run, entries: &'a [Entry]) -> Self {
        let goals = entries.iter().map(|entry| goal(entry, entries, run.goals())).collect();
        Self { run, entries, goals, document: Document::new() }
    }

    fn draw(mut self) -> String {
        let rows = self.rows();
        let bottom = rows.last().map_or(TOP, |last| last + ROW / 2.0);
        let height = bottom + BOTTOM;
        self.add(Title::new(self.run.title()));
        self.add(rectangle(0.0, 0.0, WIDTH, height, BACKGROUND).set("stroke", BORDER));
        for y in rows.iter().skip(1).step_by(2) {
            self.add(rectangle(MARGIN / 2.0, y - ROW / 2.0, WIDTH - MARGIN, ROW, STRIPE));
        }
        self.text(MARGIN, MARGIN + 10.0, "start", INK, self.run.title(), true);

        let mut x = MARGIN;
        for column in self.columns() {
            let width = column.width();
            let at = if column.anchor == "end" { x + width } else { x };
            self.text(at, TOP - 18.0, column.anchor, FAINT, &column.head, false);
            for (text, y) in column.texts.iter().zip(&rows) {
                self.text(at, *y, column.anchor, INK, text, false);
            }
            x += width + GAP;
        }

        let ratios = self.entries.iter().filter_map(Entry::ratio);
        let goals = self.goals.iter().flatten().map(|(ratio, _)| *ratio);
        let scale = Scale::new(ratios.chain(goals), x + GAP, WIDTH - MARGIN - GAP);
        self.grid(&scale, bottom);
        for (index, y) in rows.iter().enumerate() {
            self.bar(&scale, index, *y);
        }
        self.legend(height - 22.0);
        let document = self
            .document
            .set("viewBox", (0.0, 0.0, WIDTH, height))
            .set("width", WIDTH)
            .set("height", height)
            .set("font-family", FONTS)
            .set("font-size", FONT_SIZE);
        format!("{document}\n")
    }

    /// The middles of the rows.
    fn rows(&self) -> Vec<f64> {
        let interface = |entry: &Entry| entry.case.split('/').next().map(str::to_owned);
        let mut y = TOP + ROW / 2.0;
        let mut last = None;
        let mut rows = Vec::new();
        for entry in self.entries {
            let this = interface(entry);
            if last.is_some() && last != Some(this.clone()) {
                y += SPACE;
            }
            last = Some(this);
            rows.push(y);
            y += ROW;
        }
        rows
    }

    fn columns(&self) -> Vec<Column> {
        let entries = || self.entries.iter();
        let other = self.run.other();
        let mut columns = vec![Column::new("case", "start", entries().map(|entry| entry.case.clone()))];
        if self.entries.iter().any(|entry| entry.other.is_some()) {
            columns.push(Column::new(
                "compared with",
                "start",
                entries().map(|entry| entry.other.clone().unwrap_or_default()),
            ));
        }
        columns.extend([
            Column::new(&format!("{other} us"), "end", entries().map(|entry| time(entry.other_us))),
            Column::new("eventd us", "end", entries().map(|entry| time(entry.ours_us))),
            Column::new(
                "ratio",
                "end",
                entries().map(|entry| entry.ratio().map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}"))),
            ),
            Column::new(
                "goal",
                "end",
                self.goals.iter().map(|goal| goal.as_ref().map_or_else(String::new, |(_, text)| text.clone())),
            ),
        ]);
        columns
    }

    fn grid(&mut self, scale: &Scale, bottom: f64) {
        for tick in &scale.ticks {
            let x = scale.x(*tick);
            // Exact: this tick is made as 1 times 1.
            let (rule, wide, ink) = if *tick == 1.0 { (INK, 2.0, INK) } else { (GRID, 1.0, FAINT) };
            self.add(line(x, TOP - 6.0, bottom + 4.0, rule).set("stroke-width", wide));
            self.text(x, bottom + 16.0, "middle", ink, &tick.to_string(), false);
        }
        let one = scale.x(1.0);
        self.text(one - 10.0, TOP - 18.0, "end", FASTER, "faster", false);
        self.text(one + 10.0, TOP - 18.0, "start", SLOWER, "slower", false);
        let says = format!("eventd / {} (logarithmic; {} = 1)", self.run.other(), self.run.other());
        self.text(f64::midpoint(scale.left, scale.right), bottom + 38.0, "middle", FAINT, &says, false);
    }

    fn bar(&mut self, scale: &Scale, index: usize, y: f64) {
        let one = scale.x(1.0);
        match self.entries[index].ratio() {
            Some(ratio) => {
                let x = scale.x(ratio);
                let colour = if ratio < 1.0 { FASTER } else { SLOWER };
                self.add(rectangle(one.min(x), y - 4.0, (x - one).abs(), 8.0, colour));
                // A ratio near one would leave no bar to be seen.
                self.add(Circle::new().set("cx", px(x)).set("cy", px(y)).set("r", 5.5).set("fill", colour));
            }
            // On the side where there is more room.
            None if one > f64::midpoint(scale.left, scale.right) => {
                self.text(one - 10.0, y, "end", FAINT, "not measured", false);
            }
            None => self.text(one + 10.0, y, "start", FAINT, "not measured", false),
        }
        if let Some((ratio, _)) = self.goals[index] {
            self.add(diamond(scale.x(ratio), y));
        }
    }

    fn legend(&mut self, y: f64) {
        self.add(Circle::new().set("cx", MARGIN + 6.0).set("cy", px(y)).set("r", 5.5).set("fill", FASTER));
        self.text(MARGIN + 18.0, y, "start", INK, "eventd is faster", false);
        self.add(Circle::new().set("cx", MARGIN + 186.0).set("cy", px(y)).set("r", 5.5).set("fill", SLOWER));
        self.text(MARGIN + 198.0, y, "start", INK, "eventd is slower", false);
        self.add(diamond(MARGIN + 366.0, y));
        self.text(MARGIN + 378.0, y, "start", INK, "goal of issue 6", false);
        self.text(WIDTH - MARGIN, y, "end", FAINT, self.run.unit(), false);
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, colour: &str, text: &str, bold: bool) {
        // The baseline is below the middle; dominant-baseline is not understood everywhere.
        // And svg's own sort of text element would have line breaks around the text.
        let mut element = Element::new("text");
        element.assign("x", px(x));
        element.assign("y", px(y + 5.0));
        element.assign("text-anchor", anchor);
        element.assign("fill", colour);
        if bold {
            element.assign("font-weight", "bold");
        }
        element.append(svg::node::Text::new(text));
        self.add(element);
    }

    fn add(&mut self, node: impl Into<Box<dyn svg::Node>>) {
        self.document.append(node);
    }
}

fn rectangle(x: f64, y: f64, width: f64, height: f64, colour: &str) -> Rectangle {
    Rectangle::new()
        .set("x", px(x))
        .set("y", px(y))
        .set("width", px(width))
        .set("height", px(height))
        .set("fill", colour)
}

fn line(x: f64, top: f64, bottom: f64, colour: &str) -> Line {
    Line::new().set("x1", px(x)).set("x2", px(x)).set("y1", px(top)).set("y2", px(bottom)).set("stroke", colour)
}

/// The mark of a goal. It is hollow: what lies below it is to be seen.
fn diamond(x: f64, y: f64) -> Polygon {
    let points =
        [(0.0, -8.0), (7.0, 0.0), (0.0, 8.0), (-7.0, 0.0)].map(|(dx, dy)| format!("{},{}", px(x + dx), px(y + dy)));
    Polygon::new()
        .set("points", points.join(" "))
        .set("fill", BACKGROUND)
        .set("fill-opacity", 0.6)
        .set("stroke", INK)
        .set("stroke-width", 2.0)
}

/// A tenth of a pixel is more than can be seen.
fn px(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use svg::node::Attributes;
    use svg::node::element::tag;
    use svg::parser::Event;

    use super::*;

    fn entry(case: &str, other_us: Option<f64>, ours_us: Option<f64>) -> Entry {
        Entry { case: case.into(), other: None, other_us, ours_us }
    }

    fn picture(run: Run, entries: &[Entry]) -> String {
        Chart::new(run, entries).draw()
    }

    /// What the picture has of one sort of element, with the text inside of it.
    fn elements(picture: &str, wanted: &str) -> Result<Vec<(Attributes, String)>> {
        let mut elements = Vec::new();
        let mut inside = false;
        for event in svg::read(picture).context(|| "read the picture".into())? {
            match event {
                Event::Tag(name, kind, attributes) if name == wanted => {
                    inside = kind == tag::Type::Start;
                    if kind != tag::Type::End {
                        elements.push((attributes, String::new()));
                    }
                }
                Event::Text(text) if inside => elements.iter_mut().rev().take(1).for_each(|(_, to)| to.push_str(text)),
                Event::Error(error) => return Err(Failure::new(error.to_string())),
                _ => {}
            }
        }
        Ok(elements)
    }

    fn number(attributes: &Attributes, name: &str) -> f64 {
        attributes.get(name).and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
    }

    fn texts(picture: &str) -> Result<Vec<String>> {
        Ok(elements(picture, "text")?.into_iter().map(|(_, text)| text).collect())
    }

    /// Left and right end, top and bottom of a text, for a wide font.
    fn extent((attributes, text): &(Attributes, String)) -> [f64; 4] {
        let (x, y, width) = (number(attributes, "x"), number(attributes, "y"), width(text));
        let left = match attributes.get("text-anchor").map(|anchor| &**anchor) {
            Some("start") => x,
            Some("middle") => x - width / 2.0,
            _ => x - width,
        };
        [left, left + width, y - FONT_SIZE, y + FONT_SIZE / 4.0]
    }

    /// The cases that take the most room, with the least and the greatest ratios.
    fn all_cases() -> Vec<Entry> {
        let mut entries: Vec<_> = CASES.iter().map(|case| entry(case.name, Some(0.5), Some(500.0))).collect();
        entries[0].ours_us = Some(0.005);
        entries[1].ours_us = None;
        entries
    }

    #[test]
    fn bars_begin_at_one_and_end_at_the_ratio() -> Result<()> {
        let picture = picture(
            Run::Linux,
            &[
                entry("a/same", Some(2.0), Some(2.0)),
                entry("a/slower", Some(1.0), Some(3.0)),
                entry("a/faster", Some(10.0), Some(3.0)),
            ],
        );
        let lines = elements(&picture, "line")?;
        let [x03, x1, x3] = ["0.3", "1", "3"].map(|tick| {
            let labels = elements(&picture, "text").unwrap_or_default();
            labels.iter().find(|(_, text)| text == tick).map_or(f64::NAN, |(label, _)| number(label, "x"))
        });
        assert!(
            lines
                .iter()
                .any(|(line, _)| number(line, "x1") == x1 && line.get("stroke").is_some_and(|ink| **ink == *INK))
        );
        let bars: Vec<_> = elements(&picture, "rect")?
            .iter()
            .filter(|(bar, _)| number(bar, "height") == 8.0)
            .map(|(bar, _)| (number(bar, "x"), px(number(bar, "x") + number(bar, "width"))))
            .collect();
        assert_eq!(bars, [(x1, x1), (x1, x3), (x03, x1)]);
        let ends: Vec<_> = elements(&picture, "circle")?.iter().map(|(end, _)| number(end, "cx")).collect();
        assert_eq!(ends[..3], [x1, x3, x03]);
        Ok(())
    }

    #[test]
    fn draws_every_case() -> Result<()> {
        let entries = all_cases();
        let picture = picture(Run::Linux, &entries);
        let texts = texts(&picture)?;
        for case in &entries {
            assert!(texts.contains(&case.case), "{}", case.case);
        }
        assert_eq!(texts.iter().filter(|text| *text == "not measured").count(), 1);
        // Two of them are the legend's.
        assert_eq!(elements(&picture, "circle")?.len(), entries.len() - 1 + 2);
        Ok(())
    }

    #[test]
    fn marks_the_goals() -> Result<()> {
        let entries = all_cases();
        let picture = picture(Run::Linux, &entries);
        // One of them is the legend's.
        assert_eq!(elements(&picture, "polygon")?.len(), goals::LINUX.len() + 1);
        let texts = texts(&picture)?;
        assert!(["0.125", "flat", "1.2", "1.02"].iter().all(|goal| texts.contains(&(*goal).into())), "{texts:?}");
        let flat = entry("eventfd/write+read-live-50000", Some(0.4), Some(0.3));
        let like = entry("eventfd/write+read-live-1", Some(0.5), Some(0.2));
        let of_flat = |like| goal(&flat, &[like], goals::LINUX);
        assert_eq!(of_flat(like), Some((0.5, "flat".into())));
        assert_eq!(of_flat(entry("eventfd/write+read-live-1", None, None)), None);
        Ok(())
    }

    #[test]
    fn no_text_is_cut_off_or_in_the_way_of_another() -> Result<()> {
        let mut redox = vec![entry("signals/unrelated-kill", Some(12.5), None), entry("a/b", Some(2.0), Some(0.1))];
        redox[0].other = Some("kill(pid, 0)".into());
        for picture in [picture(Run::Linux, &all_cases()), picture(Run::Redox, &redox)] {
            let texts = elements(&picture, "text")?;
            let frame = elements(&picture, "svg")?;
            let (width, height) = (number(&frame[0].0, "width"), number(&frame[0].0, "height"));
            for (index, text) in texts.iter().enumerate() {
                let [left, right, top, bottom] = extent(text);
                assert!(left >= 0.0 && right <= width && top >= 0.0 && bottom <= height, "{text:?}");
                for other in &texts[..index] {
                    let [its_left, its_right, its_top, its_bottom] = extent(other);
                    let apart = right <= its_left || its_right <= left || bottom <= its_top || its_bottom <= top;
                    assert!(apart, "{text:?} {other:?}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn escapes_text() {
        let mut other = entry("a/b", Some(1.0), Some(1.0));
        other.other = Some("<a> & b".into());
        assert!(picture(Run::Redox, &[other]).contains(">&lt;a&gt; &amp; b</text>"));
    }

    #[test]
    fn writes_times_with_the_digits_that_count() {
        let times = [0.0312, 0.9996, 1.234, 46.64, 232.7].map(|us| time(Some(us)));
        assert_eq!(times, ["0.031", "1.000", "1.23", "46.6", "233"]);
        assert_eq!(time(None), "-");
    }
}
