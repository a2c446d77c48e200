//! The clock's Gregorian calendar, alarm times included.

/// A date and a time of day in the units of the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Calendar {
    pub(crate) second: u8,
    pub(crate) minute: u8,
    /// 0 to 23 in both modes.
    pub(crate) hour: u8,
    /// 1 to 7; Sunday is 1.
    pub(crate) weekday: u8,
    /// 1 to 31; a guest may set day 31 in any month.
    pub(crate) day: u8,
    pub(crate) month: u8,
    /// 0 to 99.
    pub(crate) year: u8,
    /// 0 to 99.
    pub(crate) century: u8,
}

pub(crate) const DAY_SECONDS: u64 = 86_400;

impl Calendar {
    /// The calendar at a Unix time. Year 0 follows year 9999.
    pub(crate) fn from_unix(seconds: u64) -> Self {
        let epoch = Self {
            second: 0,
            minute: 0,
            hour: 0,
            weekday: 5,
            day: 1,
            month: 1,
            year: 70,
            century: 19,
        };
        epoch.after(seconds)
    }

    pub(crate) fn second_of_day(&self) -> u64 {
        u64::from(self.hour) * 3600 + u64::from(self.minute) * 60 + u64::from(self.second)
    }

    /// The calendar `seconds` later. At midnight, a day beyond the end of the month becomes a day
    /// of the next month.
    pub(crate) fn after(self, seconds: u64) -> Self {
        let total = self.second_of_day().saturating_add(seconds);
        let (days, second) = (total / DAY_SECONDS, total % DAY_SECONDS);
        let mut new = Self {
            second: (second % 60) as u8,
            minute: (second / 60 % 60) as u8,
            hour: (second / 3600) as u8,
            ..self
        };
        if days != 0 {
            new.weekday = ((u64::from(self.weekday) + 6 + days) % 7) as u8 + 1;
            new.set_day_number(self.day_number() + days);
        }
        new
    }

    /// Days since 1 March of year 0 of the calendar's 10,000 years, whose leap years repeat every
    /// 400 years. Counting years from March puts the leap day at the end of a year.
    fn day_number(&self) -> u64 {
        let (year, month) = (u64::from(self.century) * 100 + u64::from(self.year), self.month);
        // January and February belong to the year before, and those of year 0 to year 9999.
        let year = if month > 2 { year } else { year + YEARS - 1 };
        let month = (u64::from(month) + 9) % 12;
        year * 365 + year / 4 - year / 100 + year / 400 + month_start(month) + u64::from(self.day)
            - 1
    }

    fn set_day_number(&mut self, number: u64) {
        let (cycle, day) = (number / CYCLE_DAYS, number % CYCLE_DAYS);
        // The last century and the last year of a cycle are a day longer; `min` keeps that day in
        // them.
        let centuries = (day / CENTURY_DAYS).min(3);
        let day = day - centuries * CENTURY_DAYS;
        let fours = day / FOUR_YEARS_DAYS;
        let day = day - fours * FOUR_YEARS_DAYS;
        let ones = (day / 365).min(3);
        let day = day - ones * 365;
        let month = (5 * day + 2) / 153;
        let january = u64::from(month >= 10);
        let year = cycle * 400 + centuries * 100 + fours * 4 + ones + january;
        self.day = (day - month_start(month)) as u8 + 1;
        self.month = ((month + 2) % 12) as u8 + 1;
        self.year = (year % 100) as u8;
        self.century = (year / 100 % 100) as u8;
    }
}

/// Number of years that the registers can represent, a multiple of 400.
const YEARS: u64 = 10_000;
const CYCLE_DAYS: u64 = 146_097;
const CENTURY_DAYS: u64 = 36_524;
const FOUR_YEARS_DAYS: u64 = 1_461;

/// Days from 1 March to the start of a month, where March is month 0.
fn month_start(month: u64) -> u64 {
    (153 * month + 2) / 5
}

/// The time of an alarm; `None` matches any value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alarm {
    pub(crate) hour: Option<u8>,
    pub(crate) minute: Option<u8>,
    pub(crate) second: Option<u8>,
}

impl Alarm {
    /// Seconds from `now` to the next match, 1 to 86,400.
    pub(crate) fn next(self, now: &Calendar) -> u64 {
        let target = self.target(now);
        let wait = (target + DAY_SECONDS - now.second_of_day()) % DAY_SECONDS;
        if wait == 0 { DAY_SECONDS } else { wait }
    }

    /// The second of the day of the next match. The smallest unit that can still advance to a match
    /// does.
    fn target(self, now: &Calendar) -> u64 {
        let (hour, minute) = (now.hour, now.minute);
        if self.hour.is_none_or(|alarm| alarm == hour) {
            if self.minute.is_none_or(|alarm| alarm == minute) {
                let second = self.second.unwrap_or(now.second + 1);
                if second > now.second && second < 60 {
                    return of_day(hour, minute, second);
                }
            }
            let next = self.minute.unwrap_or(minute + 1);
            if next > minute && next < 60 {
                return of_day(hour, next, self.second.unwrap_or(0));
            }
        }
        let next = self.hour.unwrap_or((hour + 1) % 24);
        of_day(next, self.minute.unwrap_or(0), self.second.unwrap_or(0))
    }
}

fn of_day(hour: u8, minute: u8, second: u8) -> u64 {
    u64::from(hour) * 3600 + u64::from(minute) * 60 + u64::from(second)
}
