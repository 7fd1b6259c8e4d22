#include "train/plot.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace hadal::train {
namespace {

struct Point {
  double x = 0;
  double y = 0;
};

struct Series {
  std::string_view name;
  std::string_view color;
  std::vector<Point> points;
};

constexpr double kWidth = 760;
constexpr double kPanelHeight = 200;
constexpr double kLeft = 70;
constexpr double kRight = 20;
constexpr double kTop = 28;
constexpr double kBottom = 30;
constexpr std::size_t kMostPoints = 600;

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '&')
      result += "&amp;";
    else if (c == '<')
      result += "&lt;";
    else
      result += c;
  }
  return result;
}

/// Means of equal numbers of neighbours, so that at most kMostPoints are left.
std::vector<Point> thinned(const std::vector<Point>& points) {
  const std::size_t group = (points.size() + kMostPoints - 1) / kMostPoints;
  if (group <= 1) return points;
  std::vector<Point> result;
  for (std::size_t begin = 0; begin < points.size(); begin += group) {
    const std::size_t count = std::min(group, points.size() - begin);
    Point mean;
    for (std::size_t i = begin; i < begin + count; ++i) {
      mean.x += points[i].x;
      mean.y += points[i].y;
    }
    result.push_back({mean.x / static_cast<double>(count), mean.y / static_cast<double>(count)});
  }
  return result;
}

/// 1, 2 or 5 times a power of ten: about `count` of them in `range`.
double tick_step(double range, double count) {
  const double raw = range / count;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (raw <= factor * power) return factor * power;
  }
  return 10 * power;
}

std::string tokens_label(double tokens) {
  if (tokens >= 1e6) return fmt::format("{:g} M", tokens / 1e6);
  if (tokens >= 1e3) return fmt::format("{:g} k", tokens / 1e3);
  return fmt::format("{:g}", tokens);
}

/// One diagram, its upper edge at `top`; with a logarithmic axis y is log10.
class Panel {
 public:
  Panel(double top, double last_token, bool logarithmic)
      : top_(top), last_(std::max(last_token, 1.0)), log_(logarithmic) {}

  std::string draw(std::string_view title, std::vector<Series> series) {
    find_range(series);
    std::string svg = frame(title);
    double legend = kLeft + 10;
    for (const Series& one : series) {
      svg += fmt::format(R"(<text x="{:.0f}" y="{:.0f}" fill="{}">{}</text>)", legend, top_ + kTop + 14, one.color,
                         one.name);
      svg += '\n';
      legend += 20 + 7 * static_cast<double>(one.name.size());
      if (one.points.empty()) continue;
      svg += fmt::format(R"(<polyline fill="none" stroke="{}" stroke-width="1.2" points=")", one.color);
      for (const Point& point : one.points) svg += fmt::format("{:.1f},{:.1f} ", x(point.x), y(point.y));
      svg += "\"/>\n";
    }
    return svg;
  }

 private:
  [[nodiscard]] double value(double y) const { return log_ ? std::log10(std::max(y, 1e-12)) : y; }
  [[nodiscard]] double x(double tokens) const { return kLeft + (kWidth - kLeft - kRight) * tokens / last_; }
  [[nodiscard]] double y(double of) const {
    const double share = (value(of) - low_) / (high_ - low_);
    return top_ + kTop + (kPanelHeight - kTop - kBottom) * (1 - share);
  }

  void find_range(std::vector<Series>& series) {
    low_ = std::numeric_limits<double>::infinity();
    high_ = -low_;
    for (Series& one : series) {
      std::erase_if(one.points, [](const Point& point) { return !std::isfinite(point.y); });
      one.points = thinned(one.points);
      for (const Point& point : one.points) {
        low_ = std::min(low_, value(point.y));
        high_ = std::max(high_, value(point.y));
      }
    }
    if (!(low_ <= high_)) low_ = 0, high_ = 1;
    const double margin = high_ > low_ ? 0.06 * (high_ - low_) : 0.5;
    low_ -= margin;
    high_ += margin;
  }

  [[nodiscard]] std::string frame(std::string_view title) const {
    const double bottom = top_ + kPanelHeight - kBottom;
    std::string svg = fmt::format(R"(<text x="{}" y="{:.0f}" font-weight="bold">{}</text>)", kLeft, top_ + 18, title);
    svg += fmt::format("\n<rect x=\"{}\" y=\"{:.0f}\" width=\"{}\" height=\"{:.0f}\" fill=\"none\" stroke=\"#999\"/>\n",
                       kLeft, top_ + kTop, kWidth - kLeft - kRight, kPanelHeight - kTop - kBottom);
    const double x_step = tick_step(last_, 8);
    for (double tick = 0; tick <= last_; tick += x_step) {
      svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.0f}\" text-anchor=\"middle\">{}</text>\n", x(tick), bottom + 16,
                         tokens_label(tick));
    }
    const double y_step = tick_step(high_ - low_, 4);
    for (double tick = std::ceil(low_ / y_step) * y_step; tick <= high_; tick += y_step) {
      const double shown = log_ ? std::pow(10, tick) : tick;
      const double at = y(shown);
      svg += fmt::format("<line x1=\"{0}\" y1=\"{1:.1f}\" x2=\"{2}\" y2=\"{1:.1f}\" stroke=\"#ddd\"/>\n", kLeft, at,
                         kWidth - kRight);
      svg += fmt::format("<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{:.3g}</text>\n", kLeft - 6, at + 4,
                         std::abs(shown) < 1e-12 ? 0.0 : shown);
    }
    return svg;
  }

  double top_;
  double last_;
  bool log_;
  double low_ = 0;
  double high_ = 1;
};

std::vector<Point> points_of(const RunLog& log, double StepRecord::* member) {
  std::vector<Point> points;
  for (const StepRecord& record : log.records()) points.push_back({static_cast<double>(record.tokens), record.*member});
  return points;
}

}  // namespace

std::string plot_svg(const RunLog& log, std::string_view title) {
  const double last = log.records().empty() ? 1 : static_cast<double>(log.records().back().tokens);
  std::vector<Point> held_out;
  for (const Evaluation& evaluation : log.evaluations()) {
    held_out.push_back({static_cast<double>(evaluation.tokens), evaluation.loss});
  }
  constexpr double kTitle = 34;
  const double height = kTitle + 4 * kPanelHeight;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
      "font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
      "<text x=\"{2}\" y=\"22\" font-size=\"15\">{3}</text>\n",
      kWidth, height, kLeft, escaped(title));
  svg += Panel(kTitle, last, false)
             .draw("loss, nats a token", {{"training", "#1f6fb4", points_of(log, &StepRecord::loss)},
                                          {"two tokens ahead", "#9ecae1", points_of(log, &StepRecord::mtp_loss)},
                                          {"held-out text", "#d62728", held_out}});
  svg += Panel(kTitle + kPanelHeight, last, true)
             .draw("gradient norm before clipping",
                   {{"all but the indexer", "#1f6fb4", points_of(log, &StepRecord::gradient_norm)}});
  svg += Panel(kTitle + 2 * kPanelHeight, last, false)
             .draw("largest load of an expert / mean",
                   {{"worst layer", "#d62728", points_of(log, &StepRecord::load_worst)},
                    {"mean of layers", "#1f6fb4", points_of(log, &StepRecord::load_mean)}});
  svg += Panel(kTitle + 3 * kPanelHeight, last, false)
             .draw("learning rate over tokens", {{"", "#1f6fb4", points_of(log, &StepRecord::learning_rate)}});
  return svg + "</svg>\n";
}

}  // namespace hadal::train
