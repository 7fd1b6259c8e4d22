// Gradients of the hyper-connections: hc_pre_backward, hc_post_backward, hc_head_backward, mean_streams_backward.

#include <cmath>
#include <string>

#include "ops/backend_cases.h"
#include "ops/hc_head.h"
#include "ops/hc_post.h"
#include "ops/hc_pre.h"
#include "ops/mean_streams.h"
#include "ops/reference/reference_backend.h"
#include "testing/compare.h"
#include "testing/gradient_check.h"

namespace hadal::ops {
namespace {

using testing::OpRunner;
using testing::RandomValues;
using Values = std::vector<double>;

HADAL_BACKEND_SUITE(HyperConnectionBackwardTest);

constexpr double kEps = 1e-6;

/// The values of one site, its constants, and gradients at its results. The head is a site with n mixes and one scale.
struct Site {
  std::int64_t tokens;
  std::int64_t n;
  std::int64_t channels;
  bool head = false;
  std::int64_t iterations = 20;
  Values streams = {}, fn = {}, base = {}, scale = {};
  Values output = {}, post = {}, comb = {};       // of hc_post alone
  Values d_input = {}, d_post = {}, d_comb = {};  // at hc_pre's results; d_input also at hc_head's
  Values d_streams_out = {};                      // at hc_post's result

  [[nodiscard]] std::int64_t mixes() const { return head ? n : (2 + n) * n; }
  [[nodiscard]] std::int64_t scales() const { return head ? 1 : 3; }
  [[nodiscard]] std::int64_t length() const { return n * channels; }
};

/// Mixes of about 1 and coefficients that differ from stream to stream.
Site random_site(Site site, DType type, std::uint64_t seed) {
  RandomValues random(seed);
  const double spread = 1 / std::sqrt(static_cast<double>(site.length()));
  site.streams = random.normal(site.tokens * site.length(), type, 2);
  site.fn = random.normal(site.mixes() * site.length(), DType::kF32, spread);
  site.base = random.normal(site.mixes(), DType::kF32, 0.5);
  site.scale = random.normal(site.scales(), DType::kF32);
  site.output = random.normal(site.tokens * site.channels, type);
  site.post = random.normal(site.tokens * site.n, type);
  site.comb = random.normal(site.tokens * site.n * site.n, type);
  site.d_input = random.normal(site.tokens * site.channels, type);
  site.d_post = random.normal(site.tokens * site.n, type);
  site.d_comb = random.normal(site.tokens * site.n * site.n, type);
  site.d_streams_out = random.normal(site.tokens * site.length(), type);
  return site;
}

/// Runs the operators of one site in one type.
class Runs {
 public:
  Runs(OpRunner& runner, DType type, const Site& site)
      : runner_(runner), type_(type), s_(site), streams_(real({s_.tokens, s_.n, s_.channels}, s_.streams)) {
    if (s_.fn.empty()) return;
    fn_ = runner_.weight(DType::kF32, {s_.mixes(), s_.length()}, s_.fn);
    base_ = runner_.weight(DType::kF32, {s_.mixes()}, s_.base);
    scale_ = runner_.weight(DType::kF32, {s_.scales()}, s_.scale);
  }

  /// Results one after the other: input, post, comb of hc_pre; or out of hc_head.
  Values forward() {
    const TensorView input = runner_.empty(type_, {s_.tokens, s_.channels});
    if (s_.head) {
      runner_.run(hc_head, {.streams = streams_,
                            .fn = fn_,
                            .base = base_,
                            .scale = scale_,
                            .out = input,
                            .norm_eps = kEps,
                            .hc_eps = kEps});
      return runner_.values(input);
    }
    const TensorView post = runner_.empty(type_, {s_.tokens, s_.n});
    const TensorView comb = runner_.empty(type_, {s_.tokens, s_.n, s_.n});
    runner_.run(hc_pre, {.streams = streams_,
                         .fn = fn_,
                         .base = base_,
                         .scale = scale_,
                         .input = input,
                         .post = post,
                         .comb = comb,
                         .norm_eps = kEps,
                         .hc_eps = kEps,
                         .sinkhorn_iterations = s_.iterations});
    return joined({runner_.values(input), runner_.values(post), runner_.values(comb)});
  }

  /// Gradients of hc_pre or hc_head, each added to `before`, but for the head's streams.
  struct Gradients {
    Values streams, fn, base, scale;
  };
  Gradients backward(double before) {
    const TensorView d_streams = filled({s_.tokens, s_.n, s_.channels}, before);
    const TensorView d_fn = filled({s_.mixes(), s_.length()}, before);
    const TensorView d_base = filled({s_.mixes()}, before);
    const TensorView d_scale = filled({s_.scales()}, before);
    const TensorView d_input = real({s_.tokens, s_.channels}, s_.d_input);
    if (s_.head) {
      runner_.run(hc_head_backward, {.streams = streams_,
                                     .fn = fn_,
                                     .base = base_,
                                     .scale = scale_,
                                     .d_out = d_input,
                                     .norm_eps = kEps,
                                     .hc_eps = kEps,
                                     .d_streams = d_streams,
                                     .d_fn = d_fn,
                                     .d_base = d_base,
                                     .d_scale = d_scale});
    } else {
      runner_.run(hc_pre_backward, {.streams = streams_,
                                    .fn = fn_,
                                    .base = base_,
                                    .scale = scale_,
                                    .d_input = d_input,
                                    .d_post = real({s_.tokens, s_.n}, s_.d_post),
                                    .d_comb = real({s_.tokens, s_.n, s_.n}, s_.d_comb),
                                    .norm_eps = kEps,
                                    .hc_eps = kEps,
                                    .sinkhorn_iterations = s_.iterations,
                                    .d_streams = d_streams,
                                    .d_fn = d_fn,
                                    .d_base = d_base,
                                    .d_scale = d_scale});
    }
    return {runner_.values(d_streams), runner_.values(d_fn), runner_.values(d_base), runner_.values(d_scale)};
  }

  Values forward_post() {
    runner_.run(hc_post, {.sublayer_output = real({s_.tokens, s_.channels}, s_.output),
                          .post = real({s_.tokens, s_.n}, s_.post),
                          .comb = real({s_.tokens, s_.n, s_.n}, s_.comb),
                          .streams = streams_});
    return runner_.values(streams_);
  }

  struct PostGradients {
    Values output, post, comb, streams;
  };
  PostGradients backward_post(bool in_place) {
    const TensorView d_output = runner_.empty(type_, {s_.tokens, s_.channels});
    const TensorView d_post = runner_.empty(type_, {s_.tokens, s_.n});
    const TensorView d_comb = runner_.empty(type_, {s_.tokens, s_.n, s_.n});
    const TensorView d_out = real({s_.tokens, s_.n, s_.channels}, s_.d_streams_out);
    const TensorView d_streams = in_place ? d_out : runner_.empty(type_, {s_.tokens, s_.n, s_.channels});
    runner_.run(hc_post_backward, {.sublayer_output = real({s_.tokens, s_.channels}, s_.output),
                                   .post = real({s_.tokens, s_.n}, s_.post),
                                   .comb = real({s_.tokens, s_.n, s_.n}, s_.comb),
                                   .streams = streams_,
                                   .d_streams_out = d_out,
                                   .d_sublayer_output = d_output,
                                   .d_post = d_post,
                                   .d_comb = d_comb,
                                   .d_streams = d_streams});
    return {runner_.values(d_output), runner_.values(d_post), runner_.values(d_comb), runner_.values(d_streams)};
  }

  [[nodiscard]] static Values joined(const std::vector<Values>& parts) {
    Values all;
    for (const Values& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
  }

 private:
  TensorView real(Shape shape, const Values& values) { return runner_.tensor(type_, shape, values); }
  TensorView filled(Shape shape, double value) {
    return real(shape, Values(static_cast<std::size_t>(shape.elements()), value));
  }

  OpRunner& runner_;
  DType type_;
  const Site& s_;
  TensorView streams_;
  Weight fn_ = {}, base_ = {}, scale_ = {};
};

/// In double on the reference, with memory of its own: a loss is taken many times.
auto in_double(const Site& site, auto&& body) {
  ReferenceBackend backend;
  OpRunner runner(backend);
  Runs runs(runner, DType::kF64, site);
  return body(runs);
}

using Loss = double (*)(const Site&);

double loss_of_mixes(const Site& site) {
  const Values results = in_double(site, [](Runs& runs) { return runs.forward(); });
  return testing::inner_product(results,
                                site.head ? site.d_input : Runs::joined({site.d_input, site.d_post, site.d_comb}));
}

double loss_of_post(const Site& site) {
  return testing::inner_product(in_double(site, [](Runs& runs) { return runs.forward_post(); }), site.d_streams_out);
}

void expect_site_gradient(std::string name, const Site& site, Values Site::* input, DType type, Values gradient,
                          Loss loss) {
  testing::expect_gradient({.name = std::move(name),
                            .type = type,
                            .values = site.*input,
                            .gradient = std::move(gradient),
                            .loss = [&site, input, loss](const Values& values) {
                              Site at = site;
                              at.*input = values;
                              return loss(at);
                            }});
}

TEST(HyperConnectionGradients, PreAndHeadAgainstDifferences) {
  for (const bool head : {false, true}) {
    for (const std::int64_t n : {4, 1, 3, 8}) {
      const Site site = random_site({.tokens = 3, .n = n, .channels = 5, .head = head}, DType::kF64, 41);
      const Runs::Gradients d = in_double(site, [](Runs& runs) { return runs.backward(0); });
      const std::string op = std::string(head ? "hc_head" : "hc_pre") + "_backward n=" + std::to_string(n);
      expect_site_gradient(op + " d_streams", site, &Site::streams, DType::kF64, d.streams, loss_of_mixes);
      expect_site_gradient(op + " d_fn", site, &Site::fn, DType::kF32, d.fn, loss_of_mixes);
      expect_site_gradient(op + " d_base", site, &Site::base, DType::kF32, d.base, loss_of_mixes);
      expect_site_gradient(op + " d_scale", site, &Site::scale, DType::kF32, d.scale, loss_of_mixes);
    }
  }
}

TEST(HyperConnectionGradients, FewIterationsAgainstDifferences) {
  for (const std::int64_t iterations : {1, 2}) {
    const Site site = random_site({.tokens = 2, .n = 4, .channels = 3, .iterations = iterations}, DType::kF64, 42);
    const Runs::Gradients d = in_double(site, [](Runs& runs) { return runs.backward(0); });
    const std::string op = "hc_pre_backward iterations=" + std::to_string(iterations);
    expect_site_gradient(op + " d_streams", site, &Site::streams, DType::kF64, d.streams, loss_of_mixes);
    expect_site_gradient(op + " d_base", site, &Site::base, DType::kF32, d.base, loss_of_mixes);
  }
}

TEST(HyperConnectionGradients, PostAgainstDifferences) {
  for (const std::int64_t n : {4, 1, 3}) {
    const Site site = random_site({.tokens = 3, .n = n, .channels = 5}, DType::kF64, 43);
    const Runs::PostGradients d = in_double(site, [](Runs& runs) { return runs.backward_post(false); });
    const std::string op = "hc_post_backward n=" + std::to_string(n);
    expect_site_gradient(op + " d_sublayer_output", site, &Site::output, DType::kF64, d.output, loss_of_post);
    expect_site_gradient(op + " d_post", site, &Site::post, DType::kF64, d.post, loss_of_post);
    expect_site_gradient(op + " d_comb", site, &Site::comb, DType::kF64, d.comb, loss_of_post);
    expect_site_gradient(op + " d_streams", site, &Site::streams, DType::kF64, d.streams, loss_of_post);
  }
}

TEST_P(HyperConnectionBackwardTest, PreAndHeadAddToWhatIsThere) {
  const Site shapes[] = {{.tokens = 1, .n = 4, .channels = 64},   {.tokens = 37, .n = 4, .channels = 17},
                         {.tokens = 300, .n = 4, .channels = 40}, {.tokens = 19, .n = 1, .channels = 16},
                         {.tokens = 18, .n = 3, .channels = 15},  {.tokens = 5, .n = 8, .channels = 33},
                         {.tokens = 70, .n = 2, .channels = 1}};
  for (const DType type : real_types()) {
    // A site's sums go through some thousands of roundings; f32 keeps 1e-5 of the largest of each result.
    const double tolerance = type == DType::kF64 ? 1e-12 : 1e-5;
    for (Site shape : shapes) {
      for (const bool head : {false, true}) {
        shape.head = head;
        SCOPED_TRACE(std::to_string(shape.tokens) + " tokens, n " + std::to_string(shape.n) + ", D " +
                     std::to_string(shape.channels) + (head ? ", head" : ""));
        const Site site = random_site(shape, type, 44);
        const Runs::Gradients expected = in_double(site, [](Runs& runs) { return runs.backward(0.5); });
        const Runs::Gradients d = Runs(runner_, type, site).backward(0.5);
        testing::expect_near_rms(d.streams, expected.streams, expected.streams.size(), 5 * tolerance);
        testing::expect_near_rms(d.fn, expected.fn, expected.fn.size(), tolerance);
        testing::expect_near_rms(d.base, expected.base, expected.base.size(), tolerance);
        testing::expect_near_rms(d.scale, expected.scale, expected.scale.size(), tolerance);
      }
    }
  }
}

TEST_P(HyperConnectionBackwardTest, PostInPlaceAndApart) {
  const Site shapes[] = {{.tokens = 1, .n = 4, .channels = 64},
                         {.tokens = 37, .n = 4, .channels = 17},
                         {.tokens = 9, .n = 1, .channels = 530},
                         {.tokens = 18, .n = 3, .channels = 15},
                         {.tokens = 5, .n = 8, .channels = 33}};
  for (const DType type : real_types()) {
    const double tolerance = 64 * testing::epsilon(type);
    for (const Site& shape : shapes) {
      for (const bool in_place : {false, true}) {
        const Site site = random_site(shape, type, 45);
        const Runs::PostGradients expected = in_double(site, [](Runs& runs) { return runs.backward_post(false); });
        const Runs::PostGradients d = Runs(runner_, type, site).backward_post(in_place);
        testing::expect_near_rms(d.output, expected.output, expected.output.size(), tolerance);
        testing::expect_near_rms(d.post, expected.post, expected.post.size(), tolerance);
        testing::expect_near_rms(d.comb, expected.comb, expected.comb.size(), tolerance);
        testing::expect_near_rms(d.streams, expected.streams, expected.streams.size(), tolerance);
      }
    }
  }
}

TEST_P(HyperConnectionBackwardTest, UnwantedGradientsMayBeAbsent) {
  for (const DType type : real_types()) {
    const Site site = random_site({.tokens = 20, .n = 4, .channels = 12}, type, 46);
    const Values expected = Runs(runner_, type, site).backward(0).streams;
    const TensorView d_streams = runner_.tensor(type, {20, 4, 12}, Values(20 * 48, 0));
    runner_.run(hc_pre_backward, {.streams = runner_.tensor(type, {20, 4, 12}, site.streams),
                                  .fn = runner_.weight(DType::kF32, {24, 48}, site.fn),
                                  .base = runner_.weight(DType::kF32, {24}, site.base),
                                  .scale = runner_.weight(DType::kF32, {3}, site.scale),
                                  .d_input = runner_.tensor(type, {20, 12}, site.d_input),
                                  .d_post = runner_.tensor(type, {20, 4}, site.d_post),
                                  .d_comb = runner_.tensor(type, {20, 4, 4}, site.d_comb),
                                  .norm_eps = kEps,
                                  .hc_eps = kEps,
                                  .sinkhorn_iterations = 20,
                                  .d_streams = d_streams});
    testing::expect_same(runner_.values(d_streams), expected);
  }
}

TEST_P(HyperConnectionBackwardTest, MeanGoesBackToEveryStream) {
  RandomValues random(47);
  for (const DType type : real_types()) {
    const Values d_out = random.normal(3 * 19, type);
    const Values before = random.normal(3 * 4 * 19, type);
    const TensorView d_streams = runner_.tensor(type, {3, 4, 19}, before);
    runner_.run(mean_streams_backward, {.d_out = runner_.tensor(type, {3, 19}, d_out, 5), .d_streams = d_streams});
    Values expected = before;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const double part = d_out[i / 76 * 19 + i % 19] / 4;
      expected[i] = testing::as_stored(type, expected[i] + part);
    }
    testing::expect_same(runner_.values(d_streams), expected);
  }
}

}  // namespace
}  // namespace hadal::ops
