// Included inside an anonymous namespace and a target region.

/// Calls f(Int<0>), ..., f(Int<N - 1>): loops over registers whose index must be a constant.
template <int N>
struct Int {
  static constexpr int value = N;
};
template <int N, int I = 0, class F>
HADAL_INLINE void unroll(F&& f) {
  if constexpr (I < N) {
    f(Int<I>{});
    unroll<N, I + 1>(f);
  }
}
