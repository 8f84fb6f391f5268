//! How a review looks in a terminal: skeletons in braille, the flagged person bright; below them the score against its threshold.

use super::session::{Review, Shown};
use alfred_store::playback::PlaybackPerson;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::Line as TextLine;
use ratatui::widgets::canvas::{Canvas, Line, Points};
use ratatui::widgets::{Block, Paragraph};

/// Bones between key-points, in COCO's order.
const BONES: [(usize, usize); 16] = [
    (5, 7),
    (7, 9),
    (6, 8),
    (8, 10),
    (5, 6),
    (5, 11),
    (6, 12),
    (11, 12),
    (11, 13),
    (13, 15),
    (12, 14),
    (14, 16),
    (0, 1),
    (0, 2),
    (1, 3),
    (2, 4),
];
/// Lines of the score curve.
const CURVE_LINES: u16 = 7;
/// Room around everybody, as a share of the picture.
const MARGIN: f64 = 0.08;
const KEYS: &str = "a anomalous  n normal  u unsure  s skip  z undo  space pause  left/right frame  up/down speed  q quit";

/// Low and high of both axes.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    x: [f64; 2],
    y: [f64; 2],
}

impl Bounds {
    /// Of everybody in all frames, so that the picture stands still.
    fn of(shown: &Shown) -> Self {
        let persons = shown.playback.frames.iter().flat_map(|frame| &frame.persons);
        let points = persons.flat_map(|person| &person.keypoints).filter(|point| point[2] > 0.0);
        let mut bounds = Self { x: [f64::MAX, f64::MIN], y: [f64::MAX, f64::MIN] };
        for point in points {
            let [x, y] = [f64::from(point[0]), f64::from(point[1])];
            bounds.x = [bounds.x[0].min(x), bounds.x[1].max(x)];
            bounds.y = [bounds.y[0].min(y), bounds.y[1].max(y)];
        }
        if bounds.x[0] > bounds.x[1] {
            return Self { x: [0.0, 1.0], y: [0.0, 1.0] };
        }
        let room = (MARGIN * (bounds.x[1] - bounds.x[0]).max(bounds.y[1] - bounds.y[0])).max(1.0);
        Self { x: [bounds.x[0] - room, bounds.x[1] + room], y: [bounds.y[0] - room, bounds.y[1] + room] }
    }

    /// The same proportions on a screen of so many braille dots: nobody is squeezed.
    fn fitted(self, columns: u16, lines: u16) -> Self {
        let (dots_x, dots_y) = (f64::from(columns.max(1)) * 2.0, f64::from(lines.max(1)) * 4.0);
        let [width, height] = [self.x[1] - self.x[0], self.y[1] - self.y[0]];
        let scale = (width / dots_x).max(height / dots_y);
        let widened = |[low, high]: [f64; 2], length: f64| {
            let middle = f64::midpoint(low, high);
            [middle - length / 2.0, middle + length / 2.0]
        };
        Self { x: widened(self.x, dots_x * scale), y: widened(self.y, dots_y * scale) }
    }
}

/// Bones whose ends were both detected, y upwards as canvases have it.
fn bones(person: &PlaybackPerson) -> impl Iterator<Item = [f64; 4]> {
    BONES.iter().filter_map(|&(from, to)| {
        let (from, to) = (person.keypoints.get(from)?, person.keypoints.get(to)?);
        (from[2] > 0.0 && to[2] > 0.0).then(|| [from[0], -from[1], to[0], -to[1]].map(f64::from))
    })
}

/// Draws everything.
pub fn draw(review: &Review, frame: &mut Frame<'_>) {
    let [head, picture, curve, message, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(5),
        Constraint::Length(CURVE_LINES),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let Some(shown) = review.shown() else {
        frame.render_widget(Paragraph::new("nothing waits for a verdict; new items appear here by themselves").bold(), head);
        frame.render_widget(Paragraph::new(review.message()), message);
        frame.render_widget(Paragraph::new(KEYS).dim(), keys);
        return;
    };
    frame.render_widget(Paragraph::new(heading(review, shown)).bold(), head);
    let block = Block::bordered();
    let inner = block.inner(picture);
    let bounds = Bounds::of(shown).fitted(inner.width, inner.height);
    let people = shown.playback.frames.get(shown.place).map_or(&[][..], |frame| &frame.persons[..]);
    let flagged = shown.playback.item.person;
    let canvas = Canvas::default().block(block).marker(Marker::Braille).x_bounds(bounds.x).y_bounds([-bounds.y[1], -bounds.y[0]]);
    let canvas = canvas.paint(|context| {
        // The flagged person comes last and lies on top.
        for is_flagged in [false, true] {
            for person in people.iter().filter(|person| (person.person == flagged) == is_flagged) {
                let color = if is_flagged { Color::LightRed } else { Color::DarkGray };
                for [x1, y1, x2, y2] in bones(person) {
                    context.draw(&Line { x1, y1, x2, y2, color });
                }
            }
        }
    });
    frame.render_widget(canvas, picture);
    draw_curve(shown, frame, curve);
    frame.render_widget(Paragraph::new(review.message()), message);
    frame.render_widget(Paragraph::new(KEYS).dim(), keys);
}

fn heading(review: &Review, shown: &Shown) -> String {
    let item = &shown.playback.item;
    let threshold = item.threshold.map_or_else(|| "no threshold".to_owned(), |threshold| format!("threshold {threshold:.2}"));
    let number = shown.playback.frames.get(shown.place).map_or(item.first_frame, |frame| frame.frame);
    let part = match number {
        _ if number < item.first_frame => "pre-roll",
        _ if number > item.last_frame => "post-roll",
        _ => "event",
    };
    let similar = if shown.waiting.similar > 0 { format!(", {} like it", shown.waiting.similar) } else { String::new() };
    format!(
        "{} item {}{similar}  score {:.2}, {threshold}  {}  frame {number} ({part})  speed {}  {} wait, {} judged",
        item.camera,
        item.id,
        item.score,
        review.strategy().as_str(),
        review.speed(),
        review.waiting(),
        review.verdicts()
    )
}

fn draw_curve(shown: &Shown, frame: &mut Frame<'_>, area: ratatui::layout::Rect) {
    let frames = &shown.playback.frames;
    let (Some(first), Some(last)) = (frames.first(), frames.last()) else { return };
    let x = [first.frame as f64, (last.frame as f64).max(first.frame as f64 + 1.0)];
    let item = &shown.playback.item;
    let scores = shown.curve.iter().map(|point| point.score).chain(item.threshold).chain([item.score]);
    let (low, high) = scores.fold((f64::MAX, f64::MIN), |(low, high), score| (low.min(score), high.max(score)));
    let room = ((high - low) * MARGIN).max(1e-6);
    let y = [low - room, high + room];
    let points: Vec<(f64, f64)> = shown.curve.iter().map(|point| (point.frame as f64, point.score)).collect();
    let title = if points.is_empty() { "score (no curve: the model that scored is not at hand)" } else { "score" };
    let now = frames.get(shown.place).map_or(x[0], |frame| frame.frame as f64);
    let canvas = Canvas::default().block(Block::bordered().title(TextLine::styled(title, Style::new().dim())));
    let canvas = canvas.marker(Marker::Braille).x_bounds(x).y_bounds(y).paint(|context| {
        if let Some(threshold) = item.threshold {
            context.draw(&Line { x1: x[0], y1: threshold, x2: x[1], y2: threshold, color: Color::Yellow });
        }
        for pair in points.windows(2) {
            let [(x1, y1), (x2, y2)] = [pair[0], pair[1]];
            context.draw(&Line { x1, y1, x2, y2, color: Color::LightCyan });
        }
        context.draw(&Points { coords: &points, color: Color::LightCyan });
        context.draw(&Line { x1: now, y1: y[0], x2: now, y2: y[1], color: Color::Gray });
    });
    frame.render_widget(canvas, area);
}
