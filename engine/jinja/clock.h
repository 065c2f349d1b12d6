// strftime without the C library's locale and limits.
#pragma once

#include <ctime>
#include <string>
#include <string_view>

namespace quern::engine::jinja {

std::tm local_time();

// %Y %y %m %d %e %B %b %h %A %a %H %I %M %S %p %j %F %T %D %R %%, with `-` for no padding; what is
// not known stays as it is. Names are English.
std::string format_time(const std::tm& time, std::string_view format);

}  // namespace quern::engine::jinja
