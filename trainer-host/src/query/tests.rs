//! Strategies on points whose best order is known.

use super::embedding::WIDTH;
use super::k_center::k_center;
use super::{Embeddings, Pool, Preference, choose};
use crate::dataset::windows::{Origin, WindowSet};
use alfred_synth::random::Random;

fn points(values: &[f32]) -> Embeddings {
    let mut out = Embeddings::default();
    values.iter().for_each(|&value| out.push(&[value; WIDTH]));
    out
}

#[test]
fn k_centre_takes_the_farthest_first() {
    let points = points(&[0.0, 1.0, 10.0, 11.0, 100.0]);
    assert_eq!(k_center(&points, &[0, 1, 2, 3, 4], &[], 3), vec![0, 4, 3]);
    assert_eq!(k_center(&points, &[0, 1, 2, 3], &[4], 1), vec![0], "what is taken counts as covered");
    assert_eq!(k_center(&points, &[1], &[], 9), vec![1]);
    assert_eq!(k_center(&points, &[], &[], 2), Vec::<u32>::new());
}

#[test]
fn each_preference_asks_for_what_it_is_named_after() {
    let units: Vec<Vec<u32>> = (0..6).map(|window| vec![window]).collect();
    let scores = [1.0, 1.1, 1.2, 2.0, 2.1, 9.0];
    let embeddings = points(&[0.0, 0.1, 5.0, 0.2, 0.3, 50.0]);
    let pool = Pool { units: &units, scores: &scores, embeddings: &embeddings, threshold: 1.0 };
    let ask = |preference, seed| choose(preference, &pool, 2, &mut Random::new(seed));
    assert_eq!(ask(Preference::Margin, 1), vec![0, 1]);
    assert_eq!(ask(Preference::Diversity, 1), vec![0, 5]);
    // Six units are near enough for a budget of two: all of them; a budget of one looks at three.
    assert_eq!(choose(Preference::MarginDiversity, &pool, 1, &mut Random::new(1)), vec![0]);
    assert_eq!(ask(Preference::Random, 1), ask(Preference::Random, 1));
    assert!((0..20).any(|seed| ask(Preference::Random, seed) != ask(Preference::Random, 1)));
    for preference in [Preference::Random, Preference::Margin, Preference::Diversity, Preference::MarginDiversity] {
        let mut all = choose(preference, &pool, 99, &mut Random::new(4));
        all.sort_unstable();
        assert_eq!(all, vec![0, 1, 2, 3, 4, 5]);
    }
}

#[test]
fn an_embedding_tells_standing_from_moving() {
    let frames = 8;
    let mut set = WindowSet::new(frames);
    let origin = Origin { clip: 0, person: 0, centre: 4 };
    set.push(&vec![0.5; 2 * 18 * frames], false, origin);
    let moving: Vec<f32> = (0..2 * 18 * frames).map(|index| (index % frames) as f32 * 0.1).collect();
    set.push(&moving, false, origin);
    let embeddings = Embeddings::of(&set);
    assert_eq!(embeddings.len(), 2);
    // Mean and ten times the movement per frame.
    assert_eq!(&embeddings.get(0)[..2], &[0.5, 0.0]);
    assert!((embeddings.get(1)[0] - 0.35).abs() < 1e-6 && (embeddings.get(1)[1] - 1.0).abs() < 1e-5);
}
