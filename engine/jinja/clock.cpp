// Dates as templates print them.
#include "engine/jinja/clock.h"

#include <fmt/chrono.h>

#include <algorithm>

namespace quern::engine::jinja {
namespace {

constexpr std::string_view kMonths[] = {"January",   "February", "March",    "April",
                                        "May",       "June",     "July",     "August",
                                        "September", "October",  "November", "December"};
constexpr std::string_view kDays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                      "Thursday", "Friday", "Saturday"};

std::string number(int value, size_t width, char padding) {
  std::string digits = std::to_string(value);
  if (padding != '\0' && digits.size() < width) digits.insert(0, width - digits.size(), padding);
  return digits;
}

// What `%specifier` stands for; `%` and the specifier itself if it is not known.
std::string field(const std::tm& time, char specifier, bool padded) {
  const char zero = padded ? '0' : '\0';
  const auto& month = kMonths[std::clamp(time.tm_mon, 0, 11)];
  const auto& day = kDays[std::clamp(time.tm_wday, 0, 6)];
  const int hour12 = time.tm_hour % 12 == 0 ? 12 : time.tm_hour % 12;
  switch (specifier) {
    case 'Y':
      return std::to_string(time.tm_year + 1900);
    case 'y':
      return number((time.tm_year + 1900) % 100, 2, zero);
    case 'm':
      return number(time.tm_mon + 1, 2, zero);
    case 'd':
      return number(time.tm_mday, 2, zero);
    case 'e':
      return number(time.tm_mday, 2, padded ? ' ' : '\0');
    case 'B':
      return std::string(month);
    case 'b':
    case 'h':
      return std::string(month.substr(0, 3));
    case 'A':
      return std::string(day);
    case 'a':
      return std::string(day.substr(0, 3));
    case 'H':
      return number(time.tm_hour, 2, zero);
    case 'I':
      return number(hour12, 2, zero);
    case 'M':
      return number(time.tm_min, 2, zero);
    case 'S':
      return number(time.tm_sec, 2, zero);
    case 'p':
      return time.tm_hour < 12 ? "AM" : "PM";
    case 'j':
      return number(time.tm_yday + 1, 3, zero);
    case 'F':
      return format_time(time, "%Y-%m-%d");
    case 'T':
      return format_time(time, "%H:%M:%S");
    case 'D':
      return format_time(time, "%m/%d/%y");
    case 'R':
      return format_time(time, "%H:%M");
    case '%':
      return "%";
    default:
      return std::string("%") + specifier;
  }
}

}  // namespace

std::tm local_time() {
  try {
    return fmt::localtime(std::time(nullptr));
  } catch (const std::exception&) {  // the clock is beyond what the calendar can say
    return {};
  }
}

std::string format_time(const std::tm& time, std::string_view format) {
  std::string out;
  for (size_t at = 0; at < format.size(); ++at) {
    if (format[at] != '%' || at + 1 == format.size()) {
      out += format[at];
      continue;
    }
    const bool padded = format[at + 1] != '-' || at + 2 == format.size();
    at += padded ? 1 : 2;
    out += field(time, format[at], padded);
  }
  return out;
}

}  // namespace quern::engine::jinja
