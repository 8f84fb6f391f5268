//! What a synthetic person may be doing, and which of it is anomalous where.

/// HuVAD's anomaly classes, as ALFred's data sets name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AnomalyClass {
    /// Winds up and throws an object.
    Throw,
    /// Both hands above the head, held.
    HandsUp,
    /// Loses balance and drops to the ground.
    Fall,
    /// Lies down on purpose.
    LieDown,
    /// Straight blows with the fists.
    Punch,
    /// Kicks with one leg.
    Kick,
    /// Pushes somebody away with both hands.
    Push,
    /// Drags somebody by the arm.
    Pull,
    /// Swings an arm down on somebody.
    Hit,
    /// Both hands at somebody's throat.
    Strangle,
}

impl AnomalyClass {
    /// Every class, in the order of the enum.
    pub const ALL: [Self; 10] =
        [Self::Throw, Self::HandsUp, Self::Fall, Self::LieDown, Self::Punch, Self::Kick, Self::Push, Self::Pull, Self::Hit, Self::Strangle];

    /// The name that files carry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Throw => "throw",
            Self::HandsUp => "hands_up",
            Self::Fall => "fall",
            Self::LieDown => "lie_down",
            Self::Punch => "punch",
            Self::Kick => "kick",
            Self::Push => "push",
            Self::Pull => "pull",
            Self::Hit => "hit",
            Self::Strangle => "strangle",
        }
    }

    /// Whether it takes two: an aggressor and a victim. These are the classes that a fighting context makes normal.
    #[must_use]
    pub const fn is_fight(self) -> bool {
        matches!(self, Self::Punch | Self::Kick | Self::Push | Self::Pull | Self::Hit | Self::Strangle)
    }
}

/// Where a camera hangs, as far as it decides what is anomalous.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Context {
    /// A public place: every class is anomalous.
    #[default]
    Public,
    /// A dojo: fighting is normal, and people fight most of the time.
    Fighting,
}

impl Context {
    /// Whether the class is an anomaly here.
    #[must_use]
    pub const fn is_anomalous(self, class: AnomalyClass) -> bool {
        match self {
            Self::Public => true,
            Self::Fighting => !class.is_fight(),
        }
    }
}

/// One kind of motion. The victim's side of a fight has its own kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Behaviour {
    /// Stands and sways.
    Stand,
    /// Walks with the speed of its plan; at negative speed backwards.
    Walk,
    /// Jogs.
    Jog,
    /// Stands and talks with gestures.
    Talk,
    /// Stands or walks with a telephone at the ear.
    Phone,
    /// Greets with one raised hand: a normal relative of hands up.
    Wave,
    /// Walks with a load in both arms.
    Carry,
    /// Sits on a chair.
    Sit,
    /// Bends down and picks something up: a normal relative of a fall.
    Bend,
    /// Does something of an anomaly class (the aggressor's side in fights).
    Act(AnomalyClass),
    /// Suffers a fight (the victim's side).
    Suffer(AnomalyClass),
    /// Lies after a fall or after lying down; belongs to that class.
    Lie(AnomalyClass),
    /// Gets up from lying; belongs to that class.
    GetUp(AnomalyClass),
}

impl Behaviour {
    /// The normal kinds.
    pub const NORMAL: [Self; 9] =
        [Self::Stand, Self::Walk, Self::Jog, Self::Talk, Self::Phone, Self::Wave, Self::Carry, Self::Sit, Self::Bend];

    /// The anomaly class that it belongs to, if any.
    #[must_use]
    pub const fn class(self) -> Option<AnomalyClass> {
        match self {
            Self::Act(class) | Self::Suffer(class) | Self::Lie(class) | Self::GetUp(class) => Some(class),
            _ => None,
        }
    }

    /// The name that strips and tables carry.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Stand => "stand".into(),
            Self::Walk => "walk".into(),
            Self::Jog => "jog".into(),
            Self::Talk => "talk".into(),
            Self::Phone => "phone".into(),
            Self::Wave => "wave".into(),
            Self::Carry => "carry".into(),
            Self::Sit => "sit".into(),
            Self::Bend => "bend".into(),
            Self::Act(class) => class.name().into(),
            Self::Suffer(class) => format!("{}_victim", class.name()),
            Self::Lie(class) => format!("{}_lying", class.name()),
            Self::GetUp(class) => format!("{}_getting_up", class.name()),
        }
    }
}
