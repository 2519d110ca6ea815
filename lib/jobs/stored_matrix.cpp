#include "lib/jobs/stored_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "kernels/blocks/nf4.h"
#include "kernels/groups/groups.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/jobs/convert_folder.h"
#include "lib/jobs/linear_bitsandbytes.h"
#include "lib/jobs/linear_layouts.h"

namespace lq {
namespace {

using Shape = std::vector<std::uint64_t>;  ///< as PyTorch writes it: rows first

std::uint64_t parts_up(std::uint64_t n, std::uint64_t of) { return n / of + (n % of != 0); }

/// The larger of two block types that rows of `cols` values are whole blocks of, when `together`
/// values in a row share a scale.
DType block_type(std::uint64_t cols, std::uint64_t together, DType of_32, DType of_128) {
  const auto fits = [&](std::uint64_t n) { return cols % n == 0 && together % n == 0; };
  return fits(128) ? of_128 : fits(32) ? of_32 : DType::F32;
}

class MatrixFinder {
 public:
  MatrixFinder(const SafetensorsReader& folder, const std::string& module,
               const StoredScheme& stored, const StoredParts& parts, Nvfp4As nvfp4)
      : folder_(folder), module_(module), stored_(stored), found_(parts), nvfp4_(nvfp4) {
    matrix_.module = module;
    matrix_.scheme = stored.scheme;
    matrix_.scheme.scale_type = ScaleType::model;  // what the scales are stored as
    matrix_.linear.module = module;
  }

  StoredMatrix find() {
    const WeightLayout layout = stored_.scheme.layout;
    if (layout == WeightLayout::bitsandbytes)
      find_bitsandbytes();
    else if (stored_.scheme.number == WeightNumber::integer)
      find_integers();
    else if (stored_.scheme.is_float8())
      find_float8();
    else
      find_micro_groups();
    find_activations();
    return std::move(matrix_);
  }

 private:
  template <class... What>
  [[noreturn]] void fault(std::string_view leaf, const What&... what) const {
    const auto at = found_.find(leaf);
    fail(ErrorKind::input, at == found_.end() ? folder_.name() : file_name_of(folder_, at->second),
         ": tensor ", quote(module_ + "." + std::string(leaf)), what...);
  }

  bool has(std::string_view leaf) const { return found_.find(leaf) != found_.end(); }
  std::size_t need(std::string_view leaf) const {
    const auto at = found_.find(leaf);
    if (at == found_.end())
      fault(leaf, " is missing; the configuration says ", quote(module_), " has ",
            text_of(stored_));
    return at->second;
  }
  Shape shape_of_part(std::string_view leaf) const {
    Shape shape = folder_.tensors()[need(leaf)].shape;
    std::reverse(shape.begin(), shape.end());
    return shape;
  }
  Shape matrix_shape(std::string_view leaf) const {
    Shape shape = shape_of_part(leaf);
    if (shape.size() != 2)
      fault(leaf, " has ", shape.size(), " dimensions; expected 2, stacked matrices are not ",
            "supported");
    return shape;
  }
  void check_storage(std::string_view leaf, std::initializer_list<const char*> expected) const {
    const std::string_view stored = folder_.stored_as(need(leaf));
    std::string list;
    for (const char* one : expected) {
      if (stored == one) return;
      list += (list.empty() ? "" : " or ") + std::string(one);
    }
    fault(leaf, " is stored as ", stored, "; expected ", list, " for ", text_of(stored_));
  }
  void check_shape(std::string_view leaf, const Shape& expected) const {
    Shape shape = shape_of_part(leaf);
    if (shape == expected) return;
    const auto is_one = [](const Shape& s) {
      return std::all_of(s.begin(), s.end(), [](std::uint64_t n) { return n == 1; });
    };
    if (is_one(shape) && is_one(expected)) return;
    fault(leaf, " has shape ", shape_text(shape), "; expected ", shape_text(expected), " for ",
          text_of(stored_), " of a matrix ",
          shape_text(std::vector{matrix_.linear.rows, matrix_.linear.cols}));
  }
  void add(std::string_view leaf) {
    const std::size_t index = need(leaf);
    if (matrix_.file.empty()) matrix_.file = file_name_of(folder_, index);
    matrix_.parts.push_back(folder_.raw_data(index));
    matrix_.part_names.push_back(module_ + "." + std::string(leaf));
  }
  void add(std::string_view leaf, std::initializer_list<const char*> storages, const Shape& shape) {
    check_storage(leaf, storages);
    check_shape(leaf, shape);
    add(leaf);
  }
  void take_scale_type(std::string_view leaf) {
    check_storage(leaf, {"BF16", "F16", "F32"});
    matrix_.linear.type = folder_.tensors()[need(leaf)].type;
  }

  /// The values of a small tensor of floats, all finite.
  std::vector<float> floats(std::string_view leaf, std::uint64_t n) const {
    check_storage(leaf, {"F32", "BF16", "F16"});
    const std::size_t index = need(leaf);
    const TensorInfo& info = folder_.tensors()[index];
    if (info.elements() != n) fault(leaf, " has ", info.elements(), " values; expected ", n);
    std::vector<float> values(n);
    traits(info.type).decode(folder_.raw_data(index).data(), values.data(), values.size());
    for (const float value : values)
      if (!std::isfinite(value)) fault(leaf, " holds ", value, "; expected finite numbers");
    return values;
  }

  void set_size(std::string_view leaf, std::uint64_t rows, std::uint64_t cols) {
    if (rows == 0 || cols == 0) fault(leaf, " has no values");
    matrix_.linear.rows = rows;
    matrix_.linear.cols = cols;
  }

  // Integers.

  void size_of_integers() {
    const WeightScheme& scheme = matrix_.scheme;
    const auto bits = static_cast<std::uint64_t>(scheme.bits);
    if (scheme.layout == WeightLayout::awq) {
      const Shape words = matrix_shape("qweight");
      return set_size("qweight", words[1] * 8, words[0]);
    }
    if (scheme.layout == WeightLayout::gptq || scheme.layout == WeightLayout::gptq_v2) {
      const Shape words = matrix_shape("qweight");
      return set_size(
          "qweight", words[1],
          has("g_idx") ? folder_.tensors()[need("g_idx")].elements() : words[0] * 32 / bits);
    }
    if (scheme.layout == WeightLayout::modelopt) {
      const Shape pairs = matrix_shape("weight");
      return set_size("weight", pairs[0] * 2, pairs[1]);
    }
    if (!scheme.is_packed()) {
      const Shape shape = matrix_shape("weight");
      return set_size("weight", shape[0], shape[1]);
    }
    const Shape words = matrix_shape("weight_packed");
    check_storage("weight_shape", {"I64", "I32"});
    const std::size_t index = need("weight_shape");
    if (folder_.tensors()[index].elements() != 2)
      fault("weight_shape", " has ", folder_.tensors()[index].elements(), " values; expected 2");
    std::int64_t size[2];
    std::int32_t narrow[2];
    const bool is_narrow = folder_.stored_as(index) == "I32";
    std::memcpy(is_narrow ? static_cast<void*>(narrow) : size, folder_.raw_data(index).data(),
                is_narrow ? sizeof narrow : sizeof size);
    if (is_narrow) std::copy(narrow, narrow + 2, size);
    const auto cols = static_cast<std::uint64_t>(size[1]);
    if (size[0] < 0 || static_cast<std::uint64_t>(size[0]) != words[0] || size[1] < 1 ||
        cols / 32 > words[1] || kernels::packed_words(cols, scheme.bits) != words[1])
      fault("weight_shape", " holds [", size[0], ", ", size[1],
            "], which does not go with weight_packed of shape ", shape_text(words), " and ",
            scheme.bits, " bits");
    set_size("weight_packed", words[0], cols);
  }

  void check_groups() const {
    const WeightScheme& scheme = matrix_.scheme;
    if (scheme.scales == ScalesOf::group &&
        matrix_.linear.cols % static_cast<std::uint64_t>(scheme.group_size) != 0)
      fault(found_.begin()->first, ": rows of ", matrix_.linear.cols,
            " values are not whole groups of ", scheme.group_size);
    if (scheme.number != WeightNumber::integer) return;
    if (const std::string why = integers_refused(scheme, matrix_.linear); !why.empty())
      fault(found_.begin()->first, ": ", why);
  }

  void find_integers() {
    size_of_integers();
    const bool modelopt = matrix_.scheme.layout == WeightLayout::modelopt;
    const bool columns = matrix_.scheme.layout != WeightLayout::compressed_tensors && !modelopt;
    take_scale_type(columns ? "scales" : "weight_scale");
    matrix_.linear.fused = !has("pre_quant_scale");
    check_groups();
    if (!columns && matrix_.scheme.symmetric && has("weight_zero_point"))
      fault("weight_zero_point", " is there; the configuration says ", text_of(stored_));
    for (const LinearPart& part : integer_parts(matrix_.scheme, matrix_.linear)) {
      if (part.suffix == "g_idx") continue;
      if (part.suffix == "pre_quant_scale") {
        check_storage(part.suffix, {"BF16", "F16", "F32"});
        check_shape(part.suffix, part.shape);
        add(part.suffix);
      } else {
        add(part.suffix, {part.storage}, part.shape);
      }
    }
    find_column_groups(columns ? "g_idx" : "weight_g_idx");
    find_column_factors();
    choose_integer_type();
  }

  void find_column_groups(std::string_view leaf) {
    if (!has(leaf)) return;
    check_storage(leaf, {"I32"});
    check_shape(leaf, {matrix_.linear.cols});
    const std::uint64_t group = group_of(matrix_.scheme, matrix_.linear);
    const std::uint64_t n_groups = matrix_.linear.cols / group;
    const std::span<const std::byte> bytes = folder_.raw_data(need(leaf));
    std::vector<std::uint32_t> groups(matrix_.linear.cols);
    std::memcpy(groups.data(), bytes.data(), bytes.size());
    bool in_order = true;
    for (std::uint64_t c = 0; c < groups.size(); ++c) {
      if (groups[c] >= n_groups)
        fault(leaf, ": column ", c, " is of group ", static_cast<std::int32_t>(groups[c]),
              "; there are ", n_groups);
      in_order = in_order && groups[c] == c / group;
    }
    if (!in_order) matrix_.column_groups = std::move(groups);
  }

  void find_column_factors() {
    if (!has("pre_quant_scale")) return;
    auto factors = floats("pre_quant_scale", matrix_.linear.cols);
    if (std::any_of(factors.begin(), factors.end(), [](float x) { return x != 1; }))
      matrix_.column_factors = std::move(factors);
  }

  void choose_integer_type() {
    const WeightScheme& scheme = matrix_.scheme;
    const std::uint64_t group = group_of(scheme, matrix_.linear), cols = matrix_.linear.cols;
    const bool unpacked = scheme.layout == WeightLayout::compressed_tensors && !scheme.is_packed();
    // Words of packed zero points hold rows; so do those of packed codes, or pairs of rows.
    const bool rows_apart =
        scheme.layout == WeightLayout::compressed_tensors && (scheme.symmetric || unpacked);
    matrix_.row_step = rows_apart ? 1 : 32;
    if (!matrix_.column_groups.empty() || !matrix_.column_factors.empty()) return;
    // Products with I4 round what they are given to 8 bits; a checkpoint that says how activations
    // are rounded means that and nothing else, which those with I8 do.
    const bool rounds_inputs = scheme.activations != ActivationScheme::none;
    if (scheme.bits <= 4 && !unpacked && !(rounds_inputs && scheme.symmetric))
      matrix_.type = block_type(cols, group, DType::I4_32, DType::I4_128);
    else if (scheme.symmetric)
      matrix_.type = block_type(cols, group, DType::I8_32, DType::I8_128);
  }

  // Floats of 8 bits.

  void find_float8() {
    const Shape shape = matrix_shape("weight");
    set_size("weight", shape[0], shape[1]);
    const bool e5m2 = matrix_.scheme.number == WeightNumber::e5m2;
    add("weight", {e5m2 ? "F8_E5M2" : "F8_E4M3"}, shape);
    const bool fp8 = matrix_.scheme.layout == WeightLayout::fp8;
    const bool inverse =
        fp8 && (has("weight_scale_inv") || matrix_.scheme.scales == ScalesOf::block);
    const char* leaf = inverse ? "weight_scale_inv" : "weight_scale";
    take_scale_type(leaf);
    const std::uint64_t rows = shape[0], cols = shape[1];
    const std::uint64_t n_scales = folder_.tensors()[need(leaf)].elements();
    if (fp8 && matrix_.scheme.scales == ScalesOf::tensor && n_scales == rows)
      matrix_.scheme.scales = ScalesOf::channel;
    check_groups();
    matrix_.scale_rows = matrix_.scheme.scales == ScalesOf::tensor ? rows : 1;
    matrix_.scale_cols = cols;
    if (matrix_.scheme.scales == ScalesOf::group)
      matrix_.scale_cols = static_cast<std::uint64_t>(matrix_.scheme.group_size);
    if (matrix_.scheme.scales == ScalesOf::block) {
      matrix_.scale_rows = stored_.block_rows;
      matrix_.scale_cols = stored_.block_cols;
    }
    const Shape expected = {parts_up(rows, matrix_.scale_rows), parts_up(cols, matrix_.scale_cols)};
    const Shape found = shape_of_part(leaf);
    if (expected[1] != 1 || found.size() != 1 || found[0] != expected[0])
      check_shape(leaf, expected);
    add(leaf);
    const std::uint64_t together = matrix_.scale_cols >= cols ? cols : matrix_.scale_cols;
    if (!e5m2) matrix_.type = block_type(cols, together, DType::E4M3_32, DType::E4M3_128);
  }

  // Groups of 16 and 32 under scales of 8 bits.

  void find_micro_groups() {
    const WeightNumber number = matrix_.scheme.number;
    const bool modelopt = matrix_.scheme.layout == WeightLayout::modelopt;
    const bool four_bits = matrix_.scheme.bits == 4;
    const char* codes = four_bits && !modelopt ? "weight_packed" : "weight";
    const Shape shape = matrix_shape(codes);
    set_size(codes, shape[0], four_bits ? shape[1] * 2 : shape[1]);
    check_groups();
    const std::uint64_t cols = matrix_.linear.cols;
    add(codes, {four_bits ? "U8" : "F8_E4M3"}, shape);
    const Shape scales = {shape[0], cols / static_cast<std::uint64_t>(matrix_.scheme.group_size)};
    if (number != WeightNumber::nvfp4) {
      add("weight_scale", {"U8", "F8_E8M0"}, scales);
      matrix_.type = number == WeightNumber::mxfp4 ? DType::MXFP4 : DType::E4M3_32;
      return;
    }
    add("weight_scale", {"F8_E4M3"}, scales);
    const char* global = modelopt ? "weight_scale_2" : "weight_global_scale";
    const float factor = floats(global, 1)[0];
    const float other = 1 / factor;
    if (!(factor > 0) || !std::isfinite(other))
      fault(global, " holds ", factor, "; expected a number above 0");
    matrix_.divisor = modelopt ? other : factor;
    matrix_.tensor_scale = modelopt ? factor : other;
    if (cols % 64 == 0) matrix_.type = nvfp4_ == Nvfp4As::gguf ? DType::NVFP4 : DType::FP4_16;
    const char* input = modelopt ? "input_scale" : "input_global_scale";
    if (has(input)) matrix_.input_scale = modelopt ? floats(input, 1)[0] : 1 / floats(input, 1)[0];
  }

  // bitsandbytes.

  void find_bitsandbytes() {
    if (has("SCB")) return find_eight_bits();
    const bool nf4 = has("weight.quant_state.bitsandbytes__nf4");
    const std::string leaf =
        std::string("weight.quant_state.bitsandbytes__") + (nf4 ? "nf4" : "fp4");
    matrix_.scheme.number = nf4 ? WeightNumber::bnb_nf4 : WeightNumber::bnb_fp4;
    read_quant_state(leaf, nf4 ? "nf4" : "fp4");
    const std::uint64_t n = matrix_.linear.rows * matrix_.linear.cols;
    if (folder_.raw_data(need("weight")).size() != parts_up(n, 2))
      fault("weight", " has ", folder_.raw_data(need("weight")).size(), " bytes; expected ",
            parts_up(n, 2), " for 4-bit codes of a matrix ",
            shape_text(std::vector{matrix_.linear.rows, matrix_.linear.cols}));
    const std::uint64_t n_blocks = parts_up(n, matrix_.block);
    add("weight");
    add("weight.absmax", {matrix_.scheme.nested ? "U8" : "F32"}, {n_blocks});
    add("weight.quant_map", {"F32"}, {16});
    add(leaf);
    if (matrix_.scheme.nested) {
      add("weight.nested_absmax", {"F32"}, {parts_up(n_blocks, matrix_.nested_block)});
      add("weight.nested_quant_map", {"F32"}, {256});
      (void)floats("weight.nested_quant_map", 256);
    }
    const auto table = floats("weight.quant_map", 16);
    const float* known = nf4 ? kernels::Nf4Table::kValue : kernels::Fp4Table::kValue;
    if (std::equal(table.begin(), table.end(), known) && matrix_.linear.cols % 64 == 0 &&
        matrix_.block % 64 == 0)
      matrix_.type = nf4 ? DType::NF4 : DType::FP4;
  }

  void read_quant_state(const std::string& leaf, const char* quant_type) {
    check_storage(leaf, {"U8"});
    const auto bytes = folder_.raw_data(need(leaf));
    const std::string where =
        file_name_of(folder_, need(leaf)) + ": tensor " + quote(module_ + "." + leaf);
    const Json json =
        parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, where);
    const JsonObject state(&json, where);
    constexpr std::int64_t kMostBlock = 1 << 20;
    if (state.string("quant_type").value_or(quant_type) != quant_type)
      fault(leaf, ": quant_type is ", quote(*state.string("quant_type")), "; expected ",
            quant_type);
    matrix_.block =
        static_cast<std::uint64_t>(state.integer("blocksize", 1, kMostBlock).value_or(64));
    const Json* shape = state.list("shape");
    const auto is_size = [](const Json& n) {
      return n.is_number_unsigned() && n.get<std::uint64_t>() > 0;
    };
    if (!shape || shape->size() != 2 || !is_size((*shape)[0]) || !is_size((*shape)[1]))
      fault(leaf, ": shape is ", shape ? quote(shape->dump()) : "missing",
            "; expected numbers of rows and columns");
    const auto rows = (*shape)[0].get<std::uint64_t>(), cols = (*shape)[1].get<std::uint64_t>();
    const auto n = checked_multiply(rows, cols);
    if (!n || parts_up(*n, 2) != folder_.raw_data(need("weight")).size())
      fault("weight", " has ", folder_.raw_data(need("weight")).size(),
            " bytes, which do not go with a matrix ", shape_text(std::vector{rows, cols}),
            " of 4-bit codes");
    set_size(leaf, rows, cols);
    const auto offset = state.number("nested_offset");
    matrix_.scheme.nested = offset.has_value();
    if (!offset) return;
    matrix_.nested_offset = static_cast<float>(*offset);
    if (!std::isfinite(matrix_.nested_offset))
      fault(leaf, ": nested_offset is ", *offset, "; expected a number of binary32");
    matrix_.nested_block =
        static_cast<std::uint64_t>(state.integer("nested_blocksize", 1, kMostBlock).value_or(256));
  }

  void find_eight_bits() {
    const Shape shape = matrix_shape("weight");
    matrix_.scheme.number = WeightNumber::bnb_int8;
    set_size("weight", shape[0], shape[1]);
    for (const LinearPart& part : bitsandbytes_parts(matrix_.scheme, matrix_.linear)) {
      if (part.suffix == "weight_format" && !has(part.suffix)) continue;
      add(part.suffix, {part.storage}, part.shape);
    }
    if (matrix_.parts.size() > 2 && matrix_.parts[2][0] != std::byte{0})
      fail(ErrorKind::unsupported, matrix_.file, ": tensor ", quote(matrix_.part_names[2]), " is ",
           static_cast<int>(matrix_.parts[2][0]), "; supported is 0, rows one after the other");
    matrix_.type = block_type(shape[1], shape[1], DType::I8_32, DType::I8_128);
  }

  void find_activations() {
    matrix_.activations.scheme = matrix_.scheme.activations;
    matrix_.other_activations = stored_.other_activations;
    if (!matrix_.activations || !stored_.static_activations) return;
    const bool nvfp4 = matrix_.scheme.number == WeightNumber::nvfp4;
    const bool divides = nvfp4 && matrix_.scheme.layout != WeightLayout::modelopt;
    const char* leaf = divides ? "input_global_scale" : "input_scale";
    if (!has(leaf)) return;
    float scale = floats(leaf, 1)[0];
    if (nvfp4 && !divides) scale = 1 / scale;
    if (!(scale > 0) || !std::isfinite(scale))
      fault(leaf, " holds ", scale, "; expected a number above 0");
    matrix_.activations.scale = scale;
  }

  const SafetensorsReader& folder_;
  const std::string& module_;
  const StoredScheme& stored_;
  const StoredParts& found_;
  Nvfp4As nvfp4_;
  StoredMatrix matrix_;
};

}  // namespace

std::string file_name_of(const SafetensorsReader& folder, std::size_t tensor) {
  return folder.files().empty() ? folder.name() : folder.file_of(tensor).string();
}

StoredMatrix find_matrix(const SafetensorsReader& folder, const std::string& module,
                         const StoredScheme& stored, const StoredParts& parts, Nvfp4As nvfp4) {
  return MatrixFinder(folder, module, stored, parts, nvfp4).find();
}

}  // namespace lq
